"""Types of the arrays that modules hand to one another."""

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.uint8]
"""Of `alphabet`."""
Indices = NDArray[np.int32]
Bools = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floats = NDArray[np.floating]
"""Of either precision."""
