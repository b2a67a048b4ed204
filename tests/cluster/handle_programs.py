"""Embed through the handle from every kind of program, and print a shape or an error for each.

Run as a script, so that Ray sends its functions and classes along with the calls.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.job_submission import JobSubmissionClient

JOB = """
import ray
from ray import serve
ray.init(address="auto", namespace="serve")
handle = serve.get_app_handle("embedder")
print("shape", list(handle.embed.remote(["hello world"]).result().shape))
"""


def embed() -> Any:
    """Wait for an answer, as a program without an event loop does."""
    return list(serve.get_app_handle("embedder").embed.remote(["hello world"]).result().shape)


async def embed_in_a_loop() -> Any:
    """Wait for an answer, as a coroutine does."""
    return list((await serve.get_app_handle("embedder").embed.remote(["hello world"])).shape)


class Plain:
    """An actor without an event loop."""

    def embed(self) -> Any:
        """As `embed`."""
        return embed()


class Asynchronous:
    """An actor with an event loop."""

    async def embed(self) -> Any:
        """As `embed_in_a_loop`."""
        return await embed_in_a_loop()


class Other:
    """Another application of the same Ray."""

    async def __call__(self) -> Any:
        """As `embed_in_a_loop`."""
        return await embed_in_a_loop()

    def in_a_thread(self) -> Any:
        """As `embed`."""
        return embed()


def answer_of_job(client: JobSubmissionClient, name: str) -> Any:
    """Wait for the end of a job whose entrypoint embeds."""
    while not client.get_job_status(name).is_terminal():
        time.sleep(0.2)
    log = client.get_job_logs(name)
    # Ray may print more after the line.
    return json.loads(log.rpartition("shape ")[2].splitlines()[0]) if "shape " in log else log


def main() -> None:
    """Try all of them."""
    context = ray.init(address="auto", namespace="serve", logging_level=logging.ERROR)
    # It starts while the other programs run.
    jobs = JobSubmissionClient(f"http://{context.dashboard_url}")
    job = jobs.submit_job(entrypoint=f"{sys.executable} -c '{JOB}'")
    remote: Any = ray.remote(num_cpus=0)
    task, plain, asynchronous = remote(embed), remote(Plain).remote(), remote(Asynchronous).remote()
    deployment = serve.deployment(ray_actor_options={"num_cpus": 0})(Other)
    other = serve.run(deployment.bind(), name="other", route_prefix=None)
    forms: dict[str, Callable[[], Any]] = {
        "driver": embed,
        "task": lambda: ray.get(task.remote()),
        "actor": lambda: ray.get(plain.embed.remote()),
        "asynchronous actor": lambda: ray.get(asynchronous.embed.remote()),
        "application": lambda: other.remote().result(),
        "thread of an application": lambda: other.in_a_thread.remote().result(),
        "job": lambda: answer_of_job(jobs, job),
    }
    answers = {}
    for name, form in forms.items():
        try:
            answers[name] = form()
        except Exception as error:  # noqa: BLE001 - it is what is reported
            answers[name] = str(error)[-500:]
    serve.delete("other")
    sys.stdout.write(f"{json.dumps(answers)}\n")


if __name__ == "__main__":
    main()
