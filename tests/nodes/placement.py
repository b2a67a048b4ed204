"""Where the replicas of the service run; a program for a machine that reaches Ray's dashboard."""

from __future__ import annotations

import json
import sys
from typing import Any

APPLICATION = "embedder"


def placement(details: dict[str, Any]) -> dict[str, Any]:
    """Return the application's status, and what is wanted and what runs, by deployment.

    ``targets`` are numbers of replicas. ``replicas`` are the nodes of the running ones, each a pair
    of its address and its id in Ray.
    """
    application = details["applications"].get(APPLICATION)
    if application is None:
        return {"status": "NOT_DEPLOYED", "message": "", "targets": {}, "replicas": {}}
    replicas = {
        name: [
            (replica["node_ip"], replica["node_id"])
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        ]
        for name, deployment in application["deployments"].items()
    }
    targets = {
        name: deployment["target_num_replicas"]
        for name, deployment in application["deployments"].items()
    }
    return {
        "targets": targets,
        "status": application["status"],
        "message": application["message"],
        "replicas": replicas,
    }


if __name__ == "__main__":
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    found = ServeSubmissionClient(sys.argv[1]).get_serve_details()
    json.dump(placement(found), sys.stdout)
