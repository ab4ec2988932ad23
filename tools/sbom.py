"""Writes the bill of materials: `python -m tools.sbom FILE`.

CycloneDX's JSON of what is locked to run the exporter: by what each is needed, its sums, its licence. The same bytes
each time: the date is that of SOURCE_DATE_EPOCH (seconds), the serial number is made from the content.
"""

import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from infobip_exporter import __version__
from infobip_exporter.arguments import PROGRAM
from tools.licences import licence
from tools.lock import Locked, runtime


def sbom() -> str:
    """The bill as JSON."""
    packages = runtime()
    components = {each.name: _component(each) for each in packages}
    components[PROGRAM] = exporter = _pypi(PROGRAM, __version__, "Apache-2.0", ComponentType.APPLICATION)
    bom = Bom(components=[components[each.name] for each in packages])
    bom.metadata.component = exporter
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    for name, component in components.items():
        needs = [components[each.name] for each in packages if name in each.needed_by]
        bom.register_dependency(component, needs)
    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, _json(bom))
    return _json(bom)


def _component(package: Locked) -> Component:
    component = _pypi(package.name, package.version, licence(package), ComponentType.LIBRARY)
    # The sums are those of the files that may be installed, one for each kind of machine.
    sums = [HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.sha256]
    url = XsUri(str(component.purl))
    component.external_references.add(
        ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=url, hashes=sums)
    )
    return component


def _pypi(name: str, version: str, spdx: str, kind: ComponentType) -> Component:
    purl = PackageURL("pypi", name=name, version=version)
    licences = [LicenseFactory().make_from_string(spdx)]
    return Component(
        name=name, version=version, type=kind, licenses=licences, purl=purl, bom_ref=purl.to_string()
    )


def _json(bom: Bom) -> str:
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(sbom())
