"""Identity of drawn portraits, by the embedded network that was trained to tell who is who among them."""

from __future__ import annotations

from torch import Tensor

from restyle_cli.images import displayed
from restyle_cli.metrics.metric import Column, NetworkMetric, cosines


class DrawnPortraitIdentity(NetworkMetric):
    """Cosine of the embeddings of whole portraits. Of photographs it says nothing."""

    name = "id/portrait"
    columns = (Column("id/portrait", "ID portrait", higher=True, equal=1.0),)
    protocol = (
        "cosine of the embeddings of the embedded network for drawn portraits, "
        "trained to know a person again in another pose, light, expression and dress"
    )
    entry_name = "id-portrait"

    def look(self, pictures: Tensor) -> Tensor:
        """Embeddings [N, D]."""
        return self.network(displayed(pictures.float()))

    def compare(self, targets: Tensor, results: Tensor) -> Tensor:
        """Cosine of each pair, [N, 1]."""
        return cosines(targets, results)[:, None]
