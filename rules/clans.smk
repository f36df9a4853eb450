"""Pfam clans: families, targets, buckets, and alignments reduced in depth (paper, 4.1 and C.3)."""


rule extract_clan:
    """Cut a clan's families out of Pfam's full and seed alignments (paper, C.3)."""
    input:
        full="results/sources/pfam_full",
        seed="results/sources/pfam_seed",
        clans="results/sources/pfam_clans",
        pdbmap="results/sources/pdbmap",
    output:
        multiext(
            "results/clans/{clan}/",
            "full.ffdata",
            "full.ffindex",
            "seed.ffdata",
            "seed.ffindex",
            "structures.tsv",
            "counts.tsv",
        ),
    log:
        "logs/extract_clan/{clan}.log",
    conda:
        "../envs/core.yaml"
    params:
        output=subpath(output[0], parent=True),
        size=clan_size,
        max_rows=config["pfam_clan"]["max_rows"],
        recipe=1,
    shell:
        "python -m npm_core extract-clan --full {input.full:q} --seed {input.seed:q}"
        " --clans {input.clans:q} --pdbmap {input.pdbmap:q} --clan {wildcards.clan:q}"
        " {params.size} --max-rows {params.max_rows} --output {params.output:q} > {log} 2>&1"


# The filter is HHfilter's defaults, as for UniRef50 (C.3).
use rule build_families as build_clan_families with:
    input:
        multiext(places.clan_file("full"), ".ffdata", ".ffindex"),
    output:
        families="results/families/pfam_clan/{clan}.parquet",
        ledger="results/families/pfam_clan/{clan}.ledger.tsv",
    log:
        "logs/build_clan_families/{clan}.log",


rule choose_clan_targets:
    """Choose one structure a family by pdbmap and align its SEQRES to the family's columns (C.3)."""
    input:
        lambda w: sources.structure_files(),
        structures="results/clans/{clan}/structures.tsv",
        families="results/families/pfam_clan/{clan}.parquet",
    output:
        targets="results/clans/{clan}/targets.parquet",
        columns="results/clans/{clan}/columns.parquet",
        audit="results/clans/{clan}/choose_clan_targets.audit.tsv",
    log:
        "logs/choose_clan_targets/{clan}.log",
    retries: 2
    conda:
        "../envs/core.yaml"
    resources:
        published=lambda w: published(url_template=sources.structure_template()),
    params:
        place=lambda w: config["sources"]["structures"],
        settings=flags(config["pfam_clan"]["targets"]),
        min_resolved=config["structures"]["min_resolved"],
        recipe=1,
    shell:
        "python -m npm_core choose-clan-targets --structures {input.structures:q}"
        " --families {input.families:q} {resources.published}"
        " {params.settings} --min-resolved {params.min_resolved} --cache results/sources/mmCIF"
        " --output {output.targets:q} --columns {output.columns:q} --audit {output.audit:q}"
        " > {log} 2>&1"


rule split_buckets:
    """Partition a clan's families into equal buckets; shared structures stay together (C.3)."""
    input:
        families="results/families/pfam_clan/{clan}.parquet",
        targets=places.clan_file("targets.parquet"),
    output:
        "results/buckets/{clan}.tsv",
    log:
        "logs/split_buckets/{clan}.log",
    conda:
        "../envs/core.yaml"
    params:
        buckets=config["pfam_clan"]["buckets"],
        seed=config["seed"],
        recipe=1,
    shell:
        "python -m npm_core split-buckets --families {input.families:q}"
        " --targets {input.targets:q} --buckets {params.buckets} --seed {params.seed}"
        " --output {output:q} > {log} 2>&1"


rule reduce_families:
    """Reduce the evaluation bucket's alignments to a fixed depth; keep test rows apart (C.3)."""
    input:
        families="results/families/pfam_clan/{clan}.parquet",
        targets=places.clan_file("targets.parquet"),
        columns=places.clan_file("columns.parquet"),
        buckets="results/buckets/{clan}.tsv",
    output:
        reduced="results/reductions/{clan}/{round}/{depth}/reduced.parquet",
        target_msas="results/reductions/{clan}/{round}/{depth}/target_msas.parquet",
        targets="results/reductions/{clan}/{round}/{depth}/targets.parquet",
        test_rows="results/reductions/{clan}/{round}/{depth}/test_rows.parquet",
    log:
        "logs/reduce_families/{clan}/{round}/{depth}.log",
    conda:
        "../envs/core.yaml"
    params:
        seed=config["seed"],
        identity=config["families"]["identity_threshold"],
        test_rows=config["pfam_clan"]["test_rows"],
        recipe=2,
    shell:
        "python -m npm_core reduce-families --families {input.families:q}"
        " --targets {input.targets:q} --columns {input.columns:q} --buckets {input.buckets:q}"
        " --round {wildcards.round} --depth {wildcards.depth} --seed {params.seed}"
        " --identity-threshold {params.identity} --output {output.reduced:q}"
        " --target-msas {output.target_msas:q} --evaluation-targets {output.targets:q}"
        " --test-rows {output.test_rows:q} --most-test-rows {params.test_rows} > {log} 2>&1"
