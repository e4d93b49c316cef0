"""The chart by itself: linted, rendered in every mode, held against Kubernetes' schemas, refused where it must be, and
its files taken by the real server.

    python tests/deploy SEMEL    with the tools of tools/charts on the PATH, and their folders in the environment
"""

import pathlib
import sys
import tempfile

import chart
import documents
import image_sources
import manifests
import refusals
import restricted
import rules
import selected
import settings
import told


def main() -> None:
    semel = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        results = {
            "deploy_manifests": manifests.valid(directory),
            "deploy_refusals": refusals.each_sentence(),
            "deploy_schema_rules": rules.each_refuses(directory),
            "deploy_settings": settings.every_one(),
            "deploy_server_files": settings.taken_by_the_server(semel, directory),
            "deploy_restarts": manifests.checksums(directory),
            "deploy_restricted": restricted.each_container(),
            "deploy_selectors": selected.decided(),
            "deploy_unit_tests": chart.unit_tests(),
            "deploy_documents": documents.current(directory),
            "deploy_image_packages": image_sources.manifests_read(directory),
        }
    for name, value in results.items():
        told.count(name, value)
    told.passed(len(results))


main()
