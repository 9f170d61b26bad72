"""What a journal is about: everything that the results of its units depend on."""

from __future__ import annotations

import dataclasses
from typing import Any

from lip_plugin.certificates import effort
from lip_plugin.evaluate.audit import audit_stages
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.request import Request
from lip_plugin.evaluate.results import describe_environment
from lip_plugin.network import CertifiedClassifier

FORMAT = "lip-journal/1"


def about_journal(model: CertifiedClassifier, blocks: Blocks, request: Request) -> dict[str, Any]:
    """JSON values: model, labels and how they are cut, settings, attacks by name, versions, kind of device.

    Pixels are not in it: every unit has the digest of its own. Nor are the numbers of threads and processes.
    """
    attacks = [attack.name for attack in request.attacks]
    audit = [attack.name for attack in audit_stages(model.num_classes)] if request.audits else []
    environment = describe_environment(model, request.seed, [*attacks, *audit]) | {"device": model.device.type}
    del environment["threads"]
    asked = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    asked |= {"attacks": attacks, "bound": request.bound or effort(), "seed": str(request.seed)}
    images = {"images": len(blocks.labels), "blocks": blocks.count, "labels": blocks.digest}
    return {"format": FORMAT, "model": model.digest, **images, **environment, **asked}
