"""The two reports."""


rule report_uniref50:
    """One self-contained page: does NPM beat the independent Potts model by MSA depth (4.2)?"""
    input:
        precision=collect("results/precision/{e}.parquet", e=evaluations("uniref50")),
        potts=collect("results/contacts/{e}/potts.parquet", e=evaluations("uniref50")),
        npm=collect("results/contacts/{e}/npm.parquet", e=evaluations("uniref50")),
        nearest=collect(
            "results/contacts/{e}/nearest.parquet", e=evaluations("uniref50")
        ),
        targets=report_targets,
        families=training_families,
        ledgers=uniref50_ledgers,
        metrics="results/models/uniref50/metrics.csv",
        settings="results/settings.yaml",
    output:
        report(
            "reports/uniref50.html",
            category="UniRef50",
            caption="../docs/captions/uniref50.rst",
        ),
    log:
        "logs/report_uniref50.log",
    conda:
        "../envs/core.yaml"
    params:
        seed=config["seed"],
        code=verb_digest("report"),
    shell:
        "python -m npm_core report --experiment uniref50 --precision {input.precision:q}"
        " --targets {input.targets:q} --scores {input.potts:q} {input.npm:q} {input.nearest:q}"
        " --families {input.families:q} --ledgers {input.ledgers:q} --metrics {input.metrics:q}"
        " --settings {input.settings:q} --seed {params.seed} --output {output:q} > {log} 2>&1"


rule report_pfam_clan:
    """One self-contained page: NPM, Potts and nearest neighbour by depth of reduction (4.1)."""
    input:
        precision=collect("results/precision/{e}.parquet", e=evaluations("pfam_clan")),
        potts=collect("results/contacts/{e}/potts.parquet", e=evaluations("pfam_clan")),
        npm=collect("results/contacts/{e}/npm.parquet", e=evaluations("pfam_clan")),
        targets=clan_targets,
        families=collect(
            "results/families/pfam_clan/{clan}.parquet",
            clan=config["pfam_clan"]["clans"],
        ),
        ledgers=clan_ledgers,
        metrics=collect("results/models/{e}/metrics.csv", e=evaluations("pfam_clan")),
        settings="results/settings.yaml",
    output:
        report(
            "reports/pfam_clan.html",
            category="Pfam clans",
            caption="../docs/captions/pfam_clan.rst",
        ),
    log:
        "logs/report_pfam_clan.log",
    conda:
        "../envs/core.yaml"
    params:
        seed=config["seed"],
        code=verb_digest("report"),
    shell:
        "python -m npm_core report --experiment pfam_clan --precision {input.precision:q}"
        " --targets {input.targets:q} --scores {input.potts:q} {input.npm:q}"
        " --families {input.families:q} --ledgers {input.ledgers:q} --metrics {input.metrics:q}"
        " --settings {input.settings:q} --seed {params.seed} --output {output:q} > {log} 2>&1"


rule record_settings:
    """Write down the settings of this run, for the reports to show."""
    output:
        "results/settings.yaml",
    log:
        "logs/record_settings.log",
    conda:
        "../envs/core.yaml"
    params:
        settings=settings_json,
        code=verb_digest("record-settings"),
    shell:
        "python -m npm_core record-settings --json {params.settings:q} --output {output:q}"
        " > {log} 2>&1"
