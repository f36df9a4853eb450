"""Retrieve what the sources publish; the demo's source is a generated universe read as a mirror."""


rule generate_universe:
    """Write a small universe of protein families as the files that the real sources publish."""
    output:
        expand(
            "results/universe/{file}",
            file=[
                "uniref50.fasta.gz",
                "uniprot.fasta.gz",
                "pdb/entries.idx",
                "pdb/pdb_seqres.txt.gz",
                "pfam/Pfam-A.full.gz",
                "pfam/Pfam-A.seed.gz",
                "pfam/Pfam-A.clans.tsv.gz",
                "pfam/pdbmap.gz",
                "truth/families.tsv",
            ],
        ),
        structures=directory("results/universe/pdb/mmCIF"),
    log:
        "logs/generate_universe.log",
    conda:
        "../envs/core.yaml"
    params:
        settings=flags(config["universe"]),
        recipe=1,
    shell:
        "python -m npm_core universe --output results/universe {params.settings} > {log} 2>&1"


rule fetch_source:
    """Download one published file, resumable, and check it against the lock file of digests.

    What was fetched before stays until the same or its successor is there: Snakemake keeps a copy
    meanwhile.
    """
    input:
        lambda w: sources.files(w.source),
    output:
        update("results/sources/{source}"),
    log:
        "logs/fetch_source/{source}.log",
    retries: 2
    conda:
        "../envs/core.yaml"
    resources:
        published=lambda w: published(url=sources.addresses(w.source)),
    params:
        place=lambda w: config["sources"][w.source][0],
        recipe=1,
    shell:
        "python -m npm_core fetch {resources.published} --output {output:q} > {log} 2>&1"


rule extract_uniref50:
    """Take UniRef50's FASTA out of the archive in which UniProt publishes old releases."""
    input:
        "results/sources/uniref50_archive",
    output:
        "results/unpacked/uniref50.fasta.gz",
    log:
        "logs/extract_uniref50.log",
    conda:
        "../envs/core.yaml"
    params:
        member=config["sources"]["uniref50_member"],
        recipe=1,
    shell:
        "python -m npm_core extract-member --archive {input:q} --member {params.member:q}"
        " --output {output:q} > {log} 2>&1"


rule build_database:
    """Cluster the sequences and build the HH-suite database that HHblits searches."""
    input:
        "results/sources/uniprot",
    output:
        multiext(
            "results/database/built/database_",
            "a3m.ffdata",
            "a3m.ffindex",
            "cs219.ffdata",
            "cs219.ffindex",
        ),
    log:
        "logs/build_database.log",
    conda:
        "../envs/hhsuite.yaml"
    threads: 8
    params:
        prefix=subpath(output[0], strip_suffix="_a3m.ffdata"),
        settings=flags(clustering_settings()),
        recipe=1,
    shell:
        "python -m npm_core build-database --fasta {input:q} {params.settings}"
        " --output {params.prefix:q} --threads {threads} > {log} 2>&1"


rule build_mmseqs_database:
    """Cluster the sequences and build the database that MMseqs2 searches."""
    input:
        "results/sources/uniprot",
    output:
        directory("results/database/mmseqs2"),
    log:
        "logs/build_mmseqs_database.log",
    conda:
        "../envs/mmseqs2.yaml"
    threads: 8
    params:
        settings=flags(clustering_settings()),
        recipe=1,
    shell:
        "python -m npm_core build-database --engine mmseqs2 --fasta {input:q} {params.settings}"
        " --output {output:q} --threads {threads} > {log} 2>&1"


rule unpack_database:
    """Unpack the published HH-suite database (UniClust30)."""
    input:
        "results/sources/uniclust30",
    output:
        multiext(
            "results/database/unpacked/database_",
            "a3m.ffdata",
            "a3m.ffindex",
            "cs219.ffdata",
            "cs219.ffindex",
        ),
    log:
        "logs/unpack_database.log",
    conda:
        "../envs/core.yaml"
    params:
        prefix=subpath(output[0], strip_suffix="_a3m.ffdata"),
        recipe=1,
    shell:
        "python -m npm_core unpack-database --archive {input:q} --output {params.prefix:q}"
        " > {log} 2>&1"
