"""The Neural Potts Model: language-model pretraining, then training on the families (Alg. 1).

Training costs hours to days, so its rules carry a hand-raised `recipe` in place of a digest of
the code, and declare only final files: Snakemake deletes what a failed job declared, while the
checkpoints of a killed training wait under checkpoints/ for the next run to resume from.

Flags under `resources` reach a command as those under `params` do, but change no weights, and
another value runs nothing anew. `options` takes flags of the machine (`--compile`, `--sharded`).
"""


rule pretrain:
    """Pretrain a Transformer by masked language modelling (paper, Table 2; Rives et al.)."""
    input:
        fasta=places.pretraining_sequences(),
        shards=places.test_queries(),
    output:
        model="results/models/pretrained/{trunk}/model.safetensors",
        config="results/models/pretrained/{trunk}/config.json",
        metrics="results/models/pretrained/{trunk}/metrics.csv",
    log:
        "logs/pretrain/{trunk}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
        options="",
        unrelated=lambda w: unrelated_settings(trunk_settings(w)["pretraining"]),
    params:
        output=subpath(output.model, parent=True),
        trunk=lambda w: flags(trunk_settings(w)["transformer"], "trunk-"),
        settings=lambda w: training_settings(trunk_settings(w)["pretraining"]),
        validation=watched_sequences,
        seed=config["seed"],
        recipe=2,
    shell:
        "{resources.launcher} -m npm_core pretrain --fasta {input.fasta:q} {params.validation}"
        " {params.trunk} {params.settings} {resources.unrelated} --seed {params.seed} --device {resources.device} {resources.options}"
        " --threads {threads} --scratch checkpoints/pretrained/{wildcards.trunk}"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule train_uniref50:
    """Train the Neural Potts Model on the families of UniRef50's training sequences (4.2)."""
    input:
        init=places.initial_trunk("uniref50"),
        families=places.training_families("uniref50"),
        shards="results/lists/train_families.args",
        validation=places.families("test"),
    output:
        model="results/models/uniref50/model.safetensors",
        config="results/models/uniref50/config.json",
        metrics="results/models/uniref50/metrics.csv",
    log:
        "logs/train_uniref50.log",
    # The longest single job: started as soon as it can be, others run beside it.
    priority: 10
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
        options="",
        unrelated=unrelated_settings(config["npm"]["uniref50"]["training"]),
    params:
        init=subpath(input.init, parent=True),
        output=subpath(output.model, parent=True),
        head=flags(config["npm"]["uniref50"]["head"], "head-"),
        settings=training_settings(config["npm"]["uniref50"]["training"]),
        query="first",
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core train @{input.shards:q} --validation {input.validation:q}"
        " --init {params.init:q} --query {params.query} {params.head} {params.settings}"
        " {resources.unrelated} --seed {params.seed} --device {resources.device} {resources.options}"
        " --threads {threads} --scratch checkpoints/uniref50"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule train_pfam_clan:
    """Train one round's Neural Potts Model, the evaluation bucket reduced or left out (4.1, C.3)."""
    input:
        lambda w: places.chosen_settings(w.clan, w.round),
        init=places.initial_trunk("pfam_clan"),
        families="results/families/pfam_clan/{clan}.parquet",
        bucket=lambda w: clan_evaluation(w).reduced,
        validation="results/reductions/{clan}/{round}/full/target_msas.parquet",
        validation_reduced=lambda w: clan_evaluation(w).watched,
        targets="results/reductions/{clan}/{round}/full/targets.parquet",
    output:
        model="results/models/pfam_clan/{clan}/{round}/{depth}/{model}/model.safetensors",
        config="results/models/pfam_clan/{clan}/{round}/{depth}/{model}/config.json",
        metrics="results/models/pfam_clan/{clan}/{round}/{depth}/{model}/metrics.csv",
    log:
        "logs/train_pfam_clan/{clan}/{round}/{depth}/{model}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
        unrelated=unrelated_settings(
            config["npm"]["pfam_clan"]["training"], config["precision"]
        ),
    params:
        init=subpath(input.init, parent=True),
        output=subpath(output.model, parent=True),
        head=model_head,
        bucket=bucket_use,
        settings=training_settings(config["npm"]["pfam_clan"]["training"]),
        query="random",
        weighting="sqrt_meff",
        choice=choice_flag,
        watched=watched_msas,
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core train --families {input.families:q}"
        " {params.bucket} {input.bucket:q}"
        " --validation {input.validation:q} {params.watched}"
        " --validation-targets {input.targets:q}"
        " --init {params.init:q} --query {params.query} --weighting {params.weighting} {params.head}"
        " {params.settings} {params.choice} {resources.unrelated} --seed {params.seed} --device {resources.device}"
        " --threads {threads} --scratch checkpoints/pfam_clan/{wildcards.clan}/{wildcards.round}/{wildcards.depth}/{wildcards.model}"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule train_candidate:
    """Train with one combination of settings; the evaluation bucket is not looked at.

    The next bucket takes its place: it is reduced in depth, and validated on."""
    input:
        init=places.initial_trunk("pfam_clan"),
        families="results/families/pfam_clan/{clan}.parquet",
        bucket="results/reductions/{clan}/{round}/full/reduced.parquet",
        reduced=lambda w: validation_bucket(
            w, config["pfam_clan"]["selection"]["depth"]
        ).reduced,
        validation=lambda w: validation_bucket(w).families,
        targets=lambda w: validation_bucket(w).targets,
    output:
        metrics="results/selection/{clan}/{round}/{candidate}/metrics.csv",
        config="results/selection/{clan}/{round}/{candidate}/config.json",
        # What is chosen is trained again, on all data of the round.
        model=temp("results/selection/{clan}/{round}/{candidate}/model.safetensors"),
    log:
        "logs/train_candidate/{clan}/{round}/{candidate}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
        unrelated=unrelated_settings(config["npm"]["pfam_clan"]["training"]),
    params:
        init=subpath(input.init, parent=True),
        output=subpath(output.metrics, parent=True),
        # What counts as a contact may decide which candidate is chosen.
        contacts=flags(config["precision"]),
        head=flags(config["npm"]["pfam_clan"]["head"], "head-"),
        settings=candidate_settings,
        query="random",
        weighting="sqrt_meff",
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core train --families {input.families:q}"
        " --without {input.bucket:q} --replace {input.reduced:q}"
        " --validation {input.validation:q} --validation-targets {input.targets:q}"
        " --init {params.init:q} --query {params.query} --weighting {params.weighting} {params.head}"
        " {params.settings} {params.contacts} {resources.unrelated} --seed {params.seed} --device {resources.device}"
        " --threads {threads} --scratch checkpoints/selection/{wildcards.clan}/{wildcards.round}/{wildcards.candidate}"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule choose_settings:
    """Choose a round's settings by what each candidate reached on the validation bucket."""
    input:
        candidate_metrics,
    output:
        "results/selection/{clan}/{round}.json",
    log:
        "logs/choose_settings/{clan}/{round}.log",
    conda:
        "../envs/core.yaml"
    params:
        grid=selection_grid,
        measure=config["pfam_clan"]["selection"]["measure"],
        recipe=1,
    shell:
        "python -m npm_core choose-settings --grid {params.grid:q} --metrics {input:q}"
        " --measure {params.measure:q} --output {output:q} > {log} 2>&1"
