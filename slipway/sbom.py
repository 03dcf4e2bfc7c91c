"""A release's bill of materials, in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/)."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from slipway.release import PREFIX, Release, short

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562: names that are URLs


def bill(release: Release, requirements: str) -> bytes:
    """What serves a release: the model by its digest, and every pinned package.

    The same release gives the same bytes: it is dated 1970 and its serial number follows from the
    release's id.

    Args:
        requirements: the bundle's ``requirements.txt``: ``name==version`` lines.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    model = Component(
        name=release.model,
        version=short(release.id),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=release.id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=release.id.removeprefix(PREFIX))],
        properties=[
            Property(name=f"slipway:{name}", value=value)
            for name, value in release.identity().items()
            if value
        ],
    )
    parts = []
    for line in requirements.split():
        name, _, version = line.partition("==")
        url = PackageURL("pypi", None, name, version)
        parts.append(
            Component(
                name=name,
                version=version,
                type=ComponentType.LIBRARY,
                purl=url,
                bom_ref=url.to_string(),
            )
        )
    made = Bom(
        components=parts,
        metadata=BomMetaData(component=model, timestamp=datetime.fromtimestamp(0, UTC)),
        serial_number=uuid.uuid5(_NAMESPACE, release.id),
    )
    made.register_dependency(model, parts)
    told = json.loads(JsonV1Dot6(made).output_as_string())
    return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"
