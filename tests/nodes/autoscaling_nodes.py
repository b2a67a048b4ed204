"""A program that starts a Ray whose autoscaler adds nodes, by Ray's `AutoscalingCluster`.

It ends every Ray that it sees before it starts its own.
"""

from __future__ import annotations

from typing import Any

from ray.cluster_utils import AutoscalingCluster

OBJECT_STORE_BYTES = 150_000_000
WORKERS = {
    "cpu_worker": {
        "resources": {"CPU": 8, "data": 1, "object_store_memory": OBJECT_STORE_BYTES},
        "node_config": {},
        "min_workers": 1,
        "max_workers": 1,
    },
    "gpu_worker": {
        "resources": {"CPU": 8, "GPU": 1, "object_store_memory": OBJECT_STORE_BYTES},
        "node_config": {},
        "min_workers": 0,
        "max_workers": 1,
    },
}
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


class Nodes(AutoscalingCluster):
    """Nodes of this machine that the autoscaler starts as processes.

    Ray's own class reads its configuration from a file that Ray's wheel does not have.
    """

    def _generate_config(
        self,
        head_resources: dict[str, Any],
        worker_node_types: dict[str, Any],
        autoscaler_v2: bool = False,
        **config: Any,
    ) -> dict[str, Any]:
        head = {"resources": dict(head_resources), "node_config": {}, "max_workers": 0}
        return {
            "cluster_name": "autoscaling",
            "max_workers": len(worker_node_types),
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 10,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "head_node_type": "ray.head.default",
            "available_node_types": {**worker_node_types, "ray.head.default": head},
            **{name: [] for name in (*COMMANDS, "cluster_synced_files")},
            **{name: [] for name in ("rsync_exclude", "rsync_filter")},
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            "file_mounts_sync_continuously": False,
            **config,
        }


if __name__ == "__main__":
    Nodes(head_resources={"CPU": 0}, worker_node_types=WORKERS).start()
