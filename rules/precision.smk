"""Precision of the contact scores against the structures (paper, C.2)."""


rule tabulate_precision:
    """Top-L/k precision and AUC, one row per model, target, range and cut-off (paper, C.2)."""
    input:
        targets=lambda w: evaluation(w).targets,
        potts="results/contacts/{evaluation}/potts.parquet",
        prior="results/contacts/{evaluation}/prior.parquet",
        npm="results/contacts/{evaluation}/npm.parquet",
        nearest=lambda w: evaluation(w).nearest,
        without=lambda w: evaluation(w).without(config["pfam_clan"]["without_rounds"]),
    output:
        table="results/precision/{evaluation}.parquet",
    log:
        "logs/tabulate_precision/{evaluation}.log",
    conda:
        "../envs/core.yaml"
    params:
        columns=evaluation_columns,
        settings=flags(config["precision"]),
        code=verb_digest("tabulate-precision"),
    shell:
        "python -m npm_core tabulate-precision --targets {input.targets:q}"
        " --scores {input.potts:q} {input.prior:q} {input.npm:q} {input.nearest:q}"
        " {input.without:q}"
        " {params.settings} {params.columns} --output {output.table:q} > {log} 2>&1"


rule tabulate_ablation:
    """Precision of another head than NPM's own, in rows of its own `variant` (Figure 8)."""
    input:
        targets=lambda w: evaluation(w).targets,
        potts="results/contacts/{evaluation}/potts.parquet",
        npm="results/contacts/{evaluation}/{ablation}.parquet",
    output:
        table="results/precision/{evaluation}/{ablation}.parquet",
    log:
        "logs/tabulate_ablation/{evaluation}/{ablation}.log",
    conda:
        "../envs/core.yaml"
    params:
        columns=evaluation_columns,
        settings=flags(config["precision"]),
        code=verb_digest("tabulate-precision"),
    shell:
        "python -m npm_core tabulate-precision --targets {input.targets:q}"
        " --scores {input.potts:q} {input.npm:q} {params.settings} {params.columns}"
        " --column variant={wildcards.ablation} --output {output.table:q} > {log} 2>&1"
