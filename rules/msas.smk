"""Alignments of the queries: a search, HHfilter, one table of families a shard."""


rule search_shard:
    """Align each query of a shard against the sequence database by `search.engine` (C.4)."""
    input:
        queries="results/queries/{dataset}",
        database=places.search_database(),
    output:
        multiext("results/msas/{dataset}/{shard}", ".ffdata", ".ffindex"),
        ledger="results/msas/{dataset}/{shard}.ledger.tsv",
    log:
        "logs/search_shard/{dataset}/{shard}.log",
    # Most of the chain waits for it: it goes before trainings, which need but one core each.
    priority: 20
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    resources:
        limits=search_limits(),
    params:
        database=database_name,
        msas=subpath(output.ledger, strip_suffix=".ledger.tsv"),
        scratch="results/scratch/search/{dataset}/{shard}",
        settings=search_settings(),
        recipe=2,
    shell:
        "python -m npm_core search --queries {input.queries:q}/{wildcards.shard}.fasta"
        " --database {params.database:q} {params.settings} {resources.limits}"
        " --threads {threads}"
        " --scratch {params.scratch:q} --output {params.msas:q} --ledger {output.ledger:q}"
        " > {log} 2>&1"


rule build_families:
    """Filter a shard's alignments with HHfilter, weigh their rows, and tabulate them (C.3)."""
    input:
        lambda w: places.msas(w.dataset, w.shard),
    output:
        families="results/families/uniref50/{dataset}/{shard}.parquet",
        ledger="results/families/uniref50/{dataset}/{shard}.ledger.tsv",
    log:
        "logs/build_families/{dataset}/{shard}.log",
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    params:
        msas=subpath(input[0], strip_suffix=".ffdata"),
        settings=flags(config["families"]),
        recipe=1,
    shell:
        "python -m npm_core build-families --msas {params.msas:q} {params.settings}"
        " --workers {threads} --output {output.families:q} --ledger {output.ledger:q}"
        " > {log} 2>&1"


rule list_training_shards:
    """List the training shards by flag: at the paper's size they overrun a command line."""
    output:
        "results/lists/train_{kind}.args",
    log:
        "logs/list_training_shards/{kind}.log",
    wildcard_constraints:
        kind="families|msas",
    localrule: True
    params:
        shards=training_shards,
    run:
        write_arguments(output[0], log[0], params.shards)


rule sweep_coverage:
    """Depth of a random sample of training alignments at each HHfilter -cov (Figure 7)."""
    input:
        **places.training_msas(),
        shards="results/lists/train_msas.args",
    output:
        "results/depths/train.parquet",
    log:
        "logs/sweep_coverage.log",
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    params:
        settings=flags(config["coverage_sweep"] | hhfilter_settings()),
        seed=config["seed"],
        code=verb_digest("coverage-sweep"),
    shell:
        "python -m npm_core coverage-sweep @{input.shards:q} {params.settings}"
        " --seed {params.seed} --workers {threads} --output {output:q} > {log} 2>&1"


rule count_leakage:
    """Count the test sequences that are rows in alignments of training sequences."""
    input:
        **places.training_msas(),
        shards="results/lists/train_msas.args",
        test="results/queries/test.fasta",
        queries="results/queries/test",
        targets=places.targets("uniref50"),
        assignments="results/structures/assign_structures.audit.tsv",
    output:
        occurrences="results/leakage/train_msas.parquet",
        audit="results/leakage/train_msas.audit.tsv",
    log:
        "logs/count_leakage.log",
    conda:
        "../envs/core.yaml"
    threads: 8
    params:
        code=verb_digest("count-leakage"),
    shell:
        "python -m npm_core count-leakage @{input.shards:q} --test {input.test:q}"
        " --queries {input.queries:q} --targets {input.targets:q}"
        " --assignments {input.assignments:q} --workers {threads}"
        " --output {output.occurrences:q} --audit {output.audit:q} > {log} 2>&1"
