"""The two reports, and their figures for a paper."""


rule list_report_inputs:
    """List a report's inputs by flag: at the paper's size they are too long for a command line."""
    output:
        "results/report/{experiment}.args",
    log:
        "logs/list_report_inputs/{experiment}.log",
    localrule: True
    params:
        inputs=lambda w: places.report_inputs(w.experiment),
    run:
        write_arguments(output[0], log[0], params.inputs)


rule write_report:
    """One self-contained page: does NPM beat the independent Potts model, and where (4.1, 4.2)?"""
    input:
        unpack(lambda w: places.report_inputs(w.experiment)),
        arguments="results/report/{experiment}.args",
    output:
        report(
            "reports/{experiment}.html",
            category="Reports",
            labels={"experiment": "{experiment}"},
            caption="../docs/captions/report.rst",
        ),
    log:
        "logs/write_report/{experiment}.log",
    conda:
        "../envs/core.yaml"
    params:
        seed=config["seed"],
        code=verb_digest("report"),
    shell:
        "python -m npm_core report --experiment {wildcards.experiment} @{input.arguments:q}"
        " --seed {params.seed} --output {output:q} > {log} 2>&1"


rule draw_figures:
    """The report's figures as SVG and PDF files, and their numbers as Parquet tables."""
    input:
        unpack(lambda w: places.report_inputs(w.experiment)),
        arguments="results/report/{experiment}.args",
    output:
        report(
            directory("reports/figures/{experiment}"),
            patterns=["{figure}.svg"],
            category="Figures",
            subcategory="{experiment}",
            labels={"figure": "{figure}"},
            caption="../docs/captions/figures.rst",
        ),
    log:
        "logs/draw_figures/{experiment}.log",
    conda:
        "../envs/core.yaml"
    params:
        seed=config["seed"],
        code=verb_digest("figures"),
    shell:
        "python -m npm_core figures --experiment {wildcards.experiment} @{input.arguments:q}"
        " --seed {params.seed} --output {output:q} > {log} 2>&1"


rule figures:
    """Every figure of the reports for which there is data."""
    input:
        collect("reports/figures/{e}", e=places.experiments()),


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


rule write_model_card:
    """The card of the UniRef50 model: data, cost, training curve, results, limits."""
    input:
        **places.pretraining_record("uniref50"),
        model=described_model,
        metrics="results/models/uniref50/metrics.csv",
        precision=expand(
            "results/precision/{evaluation}.parquet",
            evaluation=places.evaluations("uniref50"),
        ),
    output:
        "results/models/uniref50/README.md",
    log:
        "logs/write_model_card.log",
    conda:
        "../envs/core.yaml"
    params:
        checkpoint=subpath(input.model, parent=True),
        pretrained=pretrained_flag,
        about=flags(config["model_card"]),
        seed=config["seed"],
        code=verb_digest("model-card"),
    shell:
        "python -m npm_core model-card --checkpoint {params.checkpoint:q}"
        " {params.pretrained} --precision {input.precision:q} {params.about}"
        " --seed {params.seed} --output {output:q} > {log} 2>&1"
