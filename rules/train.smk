"""The Neural Potts Model: language-model pretraining, then training on the families (Alg. 1).

Training costs hours to days, so its rules carry a hand-raised `recipe` in place of a digest of
the code, and declare only final files: Snakemake deletes what a failed job declared, while the
checkpoints of a killed training wait under checkpoints/ for the next run to resume from.
"""


rule pretrain:
    """Pretrain the Transformer by masked language modelling (paper, Table 2; Rives et al.)."""
    input:
        pretraining_sequences,
    output:
        model="results/models/pretrained/model.safetensors",
        config="results/models/pretrained/config.json",
        metrics="results/models/pretrained/metrics.csv",
    log:
        "logs/pretrain.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
    params:
        output=subpath(output.model, parent=True),
        trunk=flags(config["npm"]["trunk"], "trunk-"),
        settings=flags(config["npm"]["pretraining"]),
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core pretrain --fasta {input:q} {params.trunk} {params.settings}"
        " --seed {params.seed} --device {resources.device}"
        " --threads {threads} --scratch checkpoints/pretrained"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule train_uniref50:
    """Train the Neural Potts Model on the families of UniRef50's training sequences (4.2)."""
    input:
        init="results/models/pretrained/model.safetensors",
        families=training_families,
        validation=validation_families,
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
    params:
        init=subpath(input.init, parent=True),
        output=subpath(output.model, parent=True),
        head=flags(config["npm"]["uniref50"]["head"], "head-"),
        settings=flags(config["npm"]["uniref50"]["training"]),
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core train --families {input.families:q} --validation {input.validation:q}"
        " --init {params.init:q} --query first {params.head} {params.settings}"
        " --seed {params.seed} --device {resources.device}"
        " --threads {threads} --scratch checkpoints/uniref50"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"


rule train_pfam_clan:
    """Train one round's Neural Potts Model, the evaluation bucket reduced in depth (4.1, C.3)."""
    input:
        init="results/models/pretrained/model.safetensors",
        families="results/families/pfam_clan/{clan}.parquet",
        reduced="results/reductions/{clan}/{round}/{depth}/reduced.parquet",
        validation="results/reductions/{clan}/{round}/full/target_msas.parquet",
        validation_reduced="results/reductions/{clan}/{round}/{depth}/target_msas.parquet",
        targets="results/reductions/{clan}/{round}/full/targets.parquet",
    output:
        model="results/models/pfam_clan/{clan}/{round}/{depth}/model.safetensors",
        config="results/models/pfam_clan/{clan}/{round}/{depth}/config.json",
        metrics="results/models/pfam_clan/{clan}/{round}/{depth}/metrics.csv",
    log:
        "logs/train_pfam_clan/{clan}/{round}/{depth}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        device="cpu",
        launcher="python",
    params:
        init=subpath(input.init, parent=True),
        output=subpath(output.model, parent=True),
        head=flags(config["npm"]["pfam_clan"]["head"], "head-"),
        settings=flags(config["npm"]["pfam_clan"]["training"]),
        seed=config["seed"],
        recipe=1,
    shell:
        "{resources.launcher} -m npm_core train --families {input.families:q} --replace {input.reduced:q}"
        " --validation {input.validation:q} --validation-reduced {input.validation_reduced:q}"
        " --validation-targets {input.targets:q}"
        " --init {params.init:q} --query random --weighting sqrt_meff {params.head}"
        " {params.settings} --seed {params.seed} --device {resources.device}"
        " --threads {threads} --scratch checkpoints/pfam_clan/{wildcards.clan}/{wildcards.round}/{wildcards.depth}"
        " --output {params.output:q} --metrics {output.metrics:q} > {log} 2>&1"
