"""The networks as Hugging Face Hub models (extra ``hub``): ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.

A repository holds ``model.safetensors``, which :func:`awsrn_fast.load` reads too: its header has all hyper-parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from huggingface_hub import ModelHubMixin, hf_hub_download

from .checkpoint import load, save_weights
from .errors import UserError
from .models import AWSRN, ImprovedAWSRN, SuperResolution

WEIGHTS = "model.safetensors"


class HubMixin(
    ModelHubMixin,
    library_name="awsrn_fast",
    tags=["super-resolution", "image-to-image"],
    pipeline_tag="image-to-image",
):
    """Mixin with the Hub's three methods."""

    network: str

    @classmethod
    def of(cls, model: SuperResolution) -> HubMixin:
        """A copy of ``model`` that can be pushed: ``HubImprovedAWSRN.of(awsrn_fast.load(...)).push_to_hub(...)``.

        Raises:
            UserError: ``model`` is of the other network, or fused.
        """
        if model.network != cls.network:
            raise UserError(f"the weights are of the network {model.network!r}, {cls.__name__} is {cls.network!r}")
        if model.is_fused:
            raise UserError("a fused network has lost its training form: give the one it was fused from")
        copy = cls(**model.hyper)
        network = cast("SuperResolution", copy)
        network.load_state_dict(model.state_dict())
        network.eval()
        return copy

    def _save_pretrained(self, save_directory: Path) -> None:
        save_weights(Path(save_directory) / WEIGHTS, cast("SuperResolution", self))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> HubMixin:
        local = Path(model_id) / WEIGHTS
        where = {"revision", "cache_dir", "force_download", "local_files_only", "token"}
        download = {key: value for key, value in options.items() if key in where}
        return cls.of(load(local if Path(model_id).is_dir() else hf_hub_download(model_id, WEIGHTS, **download)))


class HubAWSRN(AWSRN, HubMixin):
    """:class:`~awsrn_fast.models.AWSRN` with the Hub's methods."""


class HubImprovedAWSRN(ImprovedAWSRN, HubMixin):
    """:class:`~awsrn_fast.models.ImprovedAWSRN` with the Hub's methods."""
