"""Attention with the signature of ``torch.nn.attention.varlen``, computed input by input."""

from __future__ import annotations

import torch


def attend_input_by_input(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
) -> torch.Tensor:
    """Return [total, heads, head width], computed in float32; check what the kernel requires."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    sizes = cu_seq_q.diff().tolist()
    assert sizes == cu_seq_k.diff().tolist()
    assert max(sizes) == max_q == max_k
    assert cu_seq_q[0] == 0
    assert cu_seq_q[-1] == len(query)
    attended = []
    for rows in zip(
        *(torch.split(part.float(), sizes) for part in (query, key, value)), strict=True
    ):
        q, k, v = (part.transpose(0, 1) for part in rows)
        scores = (q @ k.transpose(1, 2)) / query.shape[-1] ** 0.5
        attended.append((scores.softmax(-1) @ v).transpose(0, 1))
    return torch.cat(attended).to(query.dtype)
