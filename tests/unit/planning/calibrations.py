"""Calibrations in round numbers."""

from __future__ import annotations

from embedder.planning.calibration import BatchTimes, Calibration, EncoderSpeed, ServiceCost

ENCODER = EncoderSpeed(
    model="all-MiniLM-L6-v2",
    dtype="bfloat16",
    device="cpu",
    max_tokens=256,
    batch_tokens=2048,
    batches=(
        BatchTimes(text_tokens=8, alone_s=0.002, texts=256, full_s=0.104),
        BatchTimes(text_tokens=64, alone_s=0.004, texts=32, full_s=0.097),
        BatchTimes(text_tokens=256, alone_s=0.014, texts=8, full_s=0.112),
    ),
    tokens_per_core_s=500_000,
    characters_per_token=5,
)
SERVICE = ServiceCost(
    text_tokens=20,
    ingress_s=0.001,
    haproxy_s=0.0001,
    call_s=0.002,
    alone_p99_s=0.010,
    node_cores=0.1,
    ingress_bytes=150_000_000,
    tokenizer_bytes=100_000_000,
    encoder_bytes=400_000_000,
    node_bytes=1_000_000_000,
)
ON_CPUS = Calibration(
    hardware="a processor",
    date="2026-01-31",
    versions={"torch": "2.13"},
    cores=8,
    gpus=0,
    memory_bytes=16 * 10**9,
    encoder=ENCODER,
    service=SERVICE,
)
ON_A_GPU = ON_CPUS.model_copy(
    update={
        "hardware": "a GPU",
        "gpus": 1,
        "encoder": ENCODER.model_copy(
            update={
                "device": "cuda",
                "batch_tokens": 32_768,
                "batches": (
                    BatchTimes(text_tokens=8, alone_s=0.003, texts=4096, full_s=0.043),
                    BatchTimes(text_tokens=256, alone_s=0.003, texts=128, full_s=0.050),
                ),
            }
        ),
    }
)
