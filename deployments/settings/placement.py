"""Where a stage computes: in the replicas of its deployment, or in the process of its caller.

The Tokenizer and the Encoder have one setting each, ``placement``. Both always have a deployment,
which computes everything that the ingress does not, and everything that fails in the ingress.

=============  ===================================  ==============================================
placement      Tokenizer                            Encoder
=============  ===================================  ==============================================
``remote``     every request goes to a replica      every batch goes to a replica
``auto``       the ingress tokenizes requests of    on a CPU the ingress encodes a batch that
(default)      at most `AUTO_CHARACTERS`            arrives while no other is computed; on a GPU
                                                    as ``remote``
``colocated``  the ingress tokenizes every request  on a CPU the ingress encodes every batch, and
                                                    there is an ingress per core; on a GPU as
                                                    ``remote``
=============  ===================================  ==============================================

The ingress encodes with pinned models only. A call to a replica takes about 3 ms, 2 ms of them on a
core; a short text takes 2 ms to encode. A colocated stage costs the ingress the memory of a
tokenizer, or of a model whose weights the processes of a node share, and the time to load it; and a
crash in the model ends the requests of that ingress.
"""

from __future__ import annotations

from typing import Literal

Placement = Literal["remote", "auto", "colocated"]

AUTO_CHARACTERS = 16_000
"""Largest request, in characters, that the ingress tokenizes by ``auto``, because that is faster
than a call to the Tokenizer."""
