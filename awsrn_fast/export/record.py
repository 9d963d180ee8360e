"""Record of a weights file for catalogues of models, in the form of OpenModelDB (https://openmodeldb.info)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from awsrn_fast.models import Facts

ARCHITECTURES = {"awsrn": "awsrn", "improved": "improved-awsrn"}


def record(path: Path, network: str, facts: Facts) -> dict[str, Any]:
    """The record, with the fields of OpenModelDB's ``models/NAME.json`` as far as the file shows them.

    Args:
        path: the weights file.
        network: "awsrn" or "improved".
        facts: of the network that it holds.
    """
    training = facts.training
    data = training.get("data")
    content = path.read_bytes()
    kind = "safetensors" if path.suffix.lower() == ".safetensors" else "pth"
    return {
        "name": path.stem,
        "author": "awsrn_fast contributors",
        "license": None,
        "tags": ["general-upscaler", "photo"],
        "description": f"{facts.variant} for x{facts.scale}, {facts.parameters:,} parameters. "
        f"{_sentence(training.get('licence'))}Loads in spandrel after awsrn_fast.spandrel.install().",
        "date": None,
        "architecture": ARCHITECTURES[network],
        "size": [f"{facts.channels}nf"],
        "scale": facts.scale,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [
            {
                "platform": "pytorch",
                "type": kind,
                "size": len(content),
                "sha256": sha256(content).hexdigest(),
                "urls": [],
            }
        ],
        "trainingIterations": training.get("iteration"),
        "dataset": "; ".join(data) if isinstance(data, list) else data,
        "images": [],
    }


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}. " if text else ""
