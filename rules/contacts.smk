"""Contact scores of each evaluation's targets: Potts without and with prior, NPM, nearest."""


rule fit_potts:
    """Fit an independent Potts model to each target's alignment and score its contacts (C.2)."""
    input:
        families=lambda w: evaluation(w).families,
        targets=lambda w: evaluation(w).targets,
        test_rows=lambda w: evaluation(w).test_rows,
    output:
        scores="results/contacts/{evaluation}/potts.parquet",
        report="results/contacts/{evaluation}/potts.report.tsv",
    log:
        "logs/fit_potts/{evaluation}.log",
    conda:
        "../envs/core.yaml"
    threads: 8
    params:
        test_rows=test_rows_flag,
        settings=flags(config["potts"]),
        identity=config["families"]["identity_threshold"],
        code=verb_digest("potts-contacts"),
    shell:
        "python -m npm_core potts-contacts --families {input.families:q}"
        " --targets {input.targets:q} {params.test_rows} {params.settings}"
        " --identity-threshold {params.identity} --workers {threads}"
        " --output {output.scores:q} --report {output.report:q} > {log} 2>&1"


rule fit_potts_with_prior:
    """Fit each target's Potts model with the Neural Potts Model as its prior (section 6)."""
    input:
        families=lambda w: evaluation(w).families,
        targets=lambda w: evaluation(w).targets,
        test_rows=lambda w: evaluation(w).test_rows,
        model=lambda w: evaluation(w).model(),
    output:
        scores="results/contacts/{evaluation}/prior.parquet",
        report="results/contacts/{evaluation}/prior.report.tsv",
    log:
        "logs/fit_potts_with_prior/{evaluation}.log",
    conda:
        "../envs/core.yaml"
    threads: 8
    params:
        model=subpath(input.model, parent=True),
        test_rows=test_rows_flag,
        settings=flags(config["potts"]),
        identity=config["families"]["identity_threshold"],
        prior=flags(config["prior"], "prior-"),
        code=verb_digest("prior-contacts"),
    shell:
        "python -m npm_core prior-contacts --families {input.families:q}"
        " --targets {input.targets:q} {params.test_rows} --checkpoint {params.model:q}"
        " {params.prior} {params.settings}"
        " --identity-threshold {params.identity} --workers {threads}"
        " --output {output.scores:q} --report {output.report:q} > {log} 2>&1"


rule predict_npm:
    """Predict contacts from each target's sequence alone, a shuffled one, and a sister's query."""
    input:
        targets=lambda w: evaluation(w).targets,
        test_rows=lambda w: evaluation(w).test_rows,
        model=lambda w: evaluation(w).model(w.model),
        sisters=lambda w: evaluation(w).sisters(w.model),
    output:
        "results/contacts/{evaluation}/{model}.parquet",
    log:
        "logs/predict_npm/{evaluation}/{model}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
    params:
        model=subpath(input.model, parent=True),
        name=model_flags,
        test_rows=test_rows_flag,
        sisters=sister_flags,
        centre=config["potts"]["centre"],
        code=verb_digest("npm-contacts"),
    shell:
        "python -m npm_core npm-contacts --targets {input.targets:q} --checkpoint {params.model:q}"
        " {params.name} {params.test_rows} {params.sisters} --centre {params.centre}"
        " --device {resources.device} --threads {threads} --output {output:q} > {log} 2>&1"


rule find_clan_neighbours:
    """Find each target's nearest training family by HHalign probability (paper, C.3)."""
    input:
        multiext(places.clan_file("seed"), ".ffdata", ".ffindex"),
        targets="results/reductions/{clan}/{round}/full/targets.parquet",
        buckets="results/buckets/{clan}.tsv",
        families="results/families/pfam_clan/{clan}.parquet",
    output:
        "results/neighbours/pfam_clan/{clan}/{round}.parquet",
    log:
        "logs/find_clan_neighbours/{clan}/{round}.log",
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    params:
        profiles=subpath(input[0], strip_suffix=".ffdata"),
        code=verb_digest("find-clan-neighbours"),
    shell:
        "python -m npm_core find-clan-neighbours --targets {input.targets:q}"
        " --buckets {input.buckets:q} --round {wildcards.round} --profiles {params.profiles:q}"
        " --families {input.families:q} --workers {threads} --output {output:q} > {log} 2>&1"


rule find_uniref50_neighbours:
    """Find each target's nearest training query by MMseqs2: HHalign's place at UniRef50's size."""
    input:
        targets=[each.targets for each in places.evaluations("uniref50")],
        families=places.training_families("uniref50"),
        shards="results/lists/train_families.args",
    output:
        "results/neighbours/uniref50.parquet",
    log:
        "logs/find_uniref50_neighbours.log",
    conda:
        "../envs/mmseqs2.yaml"
    threads: 8
    params:
        settings=flags(config["neighbours"]),
        code=verb_digest("find-neighbours"),
    shell:
        "python -m npm_core find-neighbours --targets {input.targets:q} @{input.shards:q}"
        " {params.settings} --threads {threads} --output {output:q} > {log} 2>&1"


rule transfer_nearest:
    """Fit the nearest family's Potts model and carry its contact scores to the target (C.3)."""
    input:
        neighbours=lambda w: places.evaluation(w.group).neighbours,
        targets=lambda w: places.evaluation(w.group).targets,
        families=lambda w: places.nearest_families(w.group),
    output:
        "results/contacts/{group}/nearest.parquet",
    log:
        "logs/transfer_nearest/{group}.log",
    conda:
        "../envs/core.yaml"
    threads: 8
    params:
        families=nearest_families_flags,
        settings=flags(config["potts"]),
        identity=config["families"]["identity_threshold"],
        seed=config["seed"],
        code=verb_digest("nearest-contacts"),
    shell:
        "python -m npm_core nearest-contacts --neighbours {input.neighbours:q}"
        " --targets {input.targets:q} {params.families} {params.settings}"
        " --identity-threshold {params.identity} --seed {params.seed} --workers {threads}"
        " --output {output:q} > {log} 2>&1"
