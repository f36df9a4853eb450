"""The Neural Potts Model: Potts models of protein families predicted from one sequence."""

__version__ = "0.1.0"
