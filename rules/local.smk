"""The user's own alignments and structures, in place of database search."""

if missing := sources.missing_tables(places):
    raise WorkflowError("Files that the settings name are missing.", *missing)


rule import_uniref50:
    """Import query-anchored alignments and structures: training, test and target proteins."""
    input:
        lambda w: sources.own_files("uniref50"),
        table=lambda w: config["local"]["uniref50"],
    output:
        multiext("results/imported/uniref50/train", ".ffdata", ".ffindex"),
        multiext("results/imported/uniref50/test", ".ffdata", ".ffindex"),
        multiext("results/imported/uniref50/targets", ".ffdata", ".ffindex"),
        targets="results/imported/uniref50/targets.parquet",
        audit="results/imported/uniref50/audit.tsv",
    log:
        "logs/import_uniref50.log",
    conda:
        "../envs/core.yaml"
    params:
        settings=flags(config["split"]),
        min_resolved=config["structures"]["min_resolved"],
        output=subpath(output.targets, parent=True),
        recipe=1,
    shell:
        "python -m npm_core import-families --table {input.table:q} {params.settings}"
        " --min-resolved {params.min_resolved} --output {params.output:q} > {log} 2>&1"


rule import_clan:
    """Import the family alignments of one clan, and structures aligned to their columns."""
    input:
        lambda w: sources.own_files("pfam_clan", w.clan),
        table=lambda w: config["local"]["pfam_clan"],
        searched=lambda w: places.searched_families(w.clan),
    output:
        multiext("results/imported/{clan}/full", ".ffdata", ".ffindex"),
        multiext("results/imported/{clan}/seed", ".ffdata", ".ffindex"),
        targets="results/imported/{clan}/targets.parquet",
        columns="results/imported/{clan}/columns.parquet",
        audit="results/imported/{clan}/audit.tsv",
    log:
        "logs/import_clan/{clan}.log",
    conda:
        "../envs/core.yaml"
    params:
        output=subpath(output.targets, parent=True),
        max_rows=config["pfam_clan"]["max_rows"],
        min_resolved=config["structures"]["min_resolved"],
        searched=searched_prefixes,
        recipe=1,
    shell:
        "python -m npm_core import-clan --table {input.table:q} --clan {wildcards.clan:q}"
        " --max-rows {params.max_rows} --min-resolved {params.min_resolved} {params.searched}"
        " --output {params.output:q} > {log} 2>&1"
