"""Proteins of known structure to evaluate on, each assigned to training or test (paper, C.4)."""


rule search_pdb:
    """Ask the RCSB Search API for protein chains, and freeze the list it answers with."""
    output:
        "results/sources/pdb_hits",
    log:
        "logs/search_pdb.log",
    retries: 2
    conda:
        "../envs/core.yaml"
    params:
        settings=flags(
            {"url": config["sources"]["pdb_search"]} | config["structures"]["select"]
        ),
        lock=flags({"lock": config["sources_lock"]}),
        recipe=1,
    shell:
        "python -m npm_core search-pdb {params.settings} {params.lock} --output {output:q}"
        " > {log} 2>&1"


rule select_structures:
    """Choose PDB chains by resolution, length and deposition date (paper, C.4)."""
    input:
        **places.optional_indexes(),
        entries="results/sources/pdb_entries",
        seqres="results/sources/pdb_seqres",
    output:
        candidates="results/structures/candidates.fasta",
        audit="results/structures/select_structures.audit.tsv",
    log:
        "logs/select_structures.log",
    conda:
        "../envs/core.yaml"
    params:
        settings=flags(config["structures"]["select"] | places.optional_indexes()),
        recipe=1,
    shell:
        "python -m npm_core select-structures --entries {input.entries:q}"
        " --seqres {input.seqres:q} {params.settings}"
        " --output {output.candidates:q} --audit {output.audit:q} > {log} 2>&1"


rule assign_structures:
    """Assign chains to training or test by MMseqs2, discard both-or-neither, cluster (C.4)."""
    input:
        candidates="results/structures/candidates.fasta",
        train="results/queries/train.fasta",
        test="results/queries/test.fasta",
    output:
        assigned="results/structures/assigned.tsv",
        representatives="results/structures/representatives.fasta",
        audit="results/structures/assign_structures.audit.tsv",
    log:
        "logs/assign_structures.log",
    conda:
        "../envs/mmseqs2.yaml"
    threads: 8
    params:
        settings=flags(config["structures"]["assign"]),
        recipe=1,
    shell:
        "python -m npm_core assign-structures --candidates {input.candidates:q}"
        " --train {input.train:q} --test {input.test:q} {params.settings} --threads {threads}"
        " --output {output.assigned:q} --representatives {output.representatives:q}"
        " --audit {output.audit:q} > {log} 2>&1"


rule build_targets:
    """Fetch the mmCIF files of one shard of chains and tabulate their C-beta coordinates."""
    input:
        lambda w: sources.structure_files(),
        assigned="results/structures/assigned.tsv",
        queries="results/queries/targets",
    output:
        targets="results/structures/targets/{shard}.parquet",
        audit="results/structures/targets/{shard}.audit.tsv",
    log:
        "logs/build_targets/{shard}.log",
    retries: 2
    conda:
        "../envs/core.yaml"
    resources:
        published=lambda w: published(url_template=sources.structure_template()),
    params:
        place=lambda w: config["sources"]["structures"],
        min_resolved=config["structures"]["min_resolved"],
        code=verb_digest("build-targets"),
    shell:
        "python -m npm_core build-targets --assigned {input.assigned:q}"
        " --queries {input.queries:q}/{wildcards.shard}.fasta"
        " {resources.published} --min-resolved {params.min_resolved}"
        " --cache results/sources/mmCIF"
        " --output {output.targets:q} --audit {output.audit:q} > {log} 2>&1"
