"""Alignments of the queries: HHblits, HHfilter, one table of families a shard."""


rule search_shard:
    """Align each query of a shard against the sequence database with HHblits (paper, C.4)."""
    input:
        queries="results/queries/{dataset}",
        database=hhblits_database,
    output:
        multiext("results/msas/{dataset}/{shard}", ".ffdata", ".ffindex"),
        ledger="results/msas/{dataset}/{shard}.ledger.tsv",
    log:
        "logs/search_shard/{dataset}/{shard}.log",
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    params:
        database=subpath(input.database, strip_suffix="_a3m.ffindex"),
        msas=subpath(output.ledger, strip_suffix=".ledger.tsv"),
        scratch="results/scratch/search/{dataset}/{shard}",
        settings=flags(config["search"]),
        recipe=1,
    shell:
        "python -m npm_core search --queries {input.queries:q}/{wildcards.shard}.fasta"
        " --database {params.database:q} {params.settings} --threads {threads}"
        " --scratch {params.scratch:q} --output {params.msas:q} --ledger {output.ledger:q}"
        " > {log} 2>&1"


rule build_families:
    """Filter a shard's alignments with HHfilter, weigh their rows, and tabulate them (C.2)."""
    input:
        searched_or_imported,
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
        code=verb_digest("build-families"),
    shell:
        "python -m npm_core build-families --msas {params.msas:q} {params.settings}"
        " --workers {threads} --output {output.families:q} --ledger {output.ledger:q}"
        " > {log} 2>&1"
