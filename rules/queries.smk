"""Query sequences: UniRef50 split into training and test, and cut into shards."""


rule split_queries:
    """Partition UniRef50 at random into training and test sequences (paper, C.4)."""
    input:
        config["split"]["held_out"] or [],
        fasta=places.uniref50_fasta(),
    output:
        train="results/queries/train.fasta",
        test="results/queries/test.fasta",
    log:
        "logs/split_queries.log",
    conda:
        "../envs/core.yaml"
    params:
        settings=flags(config["split"]),
        recipe=1,
    shell:
        "python -m npm_core split-queries --fasta {input.fasta:q} {params.settings}"
        " --train {output.train:q} --test {output.test:q} > {log} 2>&1"


rule shard_queries:
    """Cut one set of queries into shards, the unit of a search job."""
    input:
        queries_file,
    output:
        directory("results/queries/{dataset}"),
    log:
        "logs/shard_queries/{dataset}.log",
    conda:
        "../envs/core.yaml"
    resources:
        empty=may_be_empty,
    params:
        settings=sharding,
        recipe=1,
    shell:
        "python -m npm_core shard-queries --fasta {input:q} {params.settings} {resources.empty}"
        " --output {output:q} > {log} 2>&1"
