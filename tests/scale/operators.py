"""Real operator processes: with the configuration, the account and the rights that the chart gave them."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from devcluster.install import NAMESPACE, RELEASE
from devcluster.kubectl import kubectl
from devcluster.layout import Layout

SERVICE_ADDRESS = "10.96.0.1"
"""Of the API server, as every pod is told it. A replica outside a pod uses its kubeconfig, but tells runners this."""
RESTART_AFTER = 5.0
"""Seconds. Late enough not to take the time of a failover's CPU."""
SECONDS = 60.0


@dataclass
class Operator:
    """One replica; a process that ended has a successor."""

    command: tuple[str, ...]
    url: str
    log: Path
    process: Process | None = None
    starts: int = 0


@dataclass
class Operators:
    """The replicas of an installation whose pods are fakes. What ends is started anew, as a kubelet does."""

    made: Layout
    http: aiohttp.ClientSession
    folder: Path
    egress_url: str
    replicas: list[Operator] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> Operator:
        """One more replica; returns when it could lead."""
        http_port, canary_port = _free_ports(2)
        number = len(self.replicas) + 1
        config = self._config(number, canary_port)
        command = (sys.executable, "-m", "agentsession", "operator", "--http-port", str(http_port), "--config", config)
        log = self.folder / f"operator-{number}.log"
        replica = Operator(command, f"http://127.0.0.1:{http_port}", log)
        self.replicas.append(replica)
        self._tasks.append(asyncio.create_task(self._keep(replica), name=f"operator {number}"))
        await self.ready(replica)
        return replica

    async def ready(self, replica: Operator) -> None:
        """Wait until it could lead."""
        async with asyncio.timeout(SECONDS):
            while not await self._is_ready(replica):
                await asyncio.sleep(0.05)

    async def leader(self) -> Operator:
        """The one that leads, once one does."""
        return (await self.leaders(1))[0]

    async def leaders(self, count: int) -> list[Operator]:
        """Those that lead, once there are so many."""
        async with asyncio.timeout(SECONDS):
            while True:
                leads = [item for item in self.replicas if await self.metric(item, "agentsession_leading") == 1]
                if len(leads) >= count:
                    return leads
                await asyncio.sleep(0.02)

    async def metrics(self, replica: Operator) -> str:
        """All that it measures, as Prometheus reads it; nothing if it is not there."""
        with suppress(aiohttp.ClientError):
            async with self.http.get(f"{replica.url}/metrics") as response:
                return await response.text()
        return ""

    async def metric(self, replica: Operator, name: str, **labels: str) -> float:
        """The sum of one metric over all samples with these labels."""
        families = text_string_to_metric_families(await self.metrics(replica))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @staticmethod
    def send(replica: Operator, signum: signal.Signals) -> None:
        """To its process."""
        assert replica.process is not None
        replica.process.send_signal(signum)

    async def close(self) -> None:
        """Kill all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, replica: Operator) -> None:
        image = {"PYTHONMALLOC": "malloc"}
        environment = {"KUBECONFIG": self._kubeconfig(), "KUBERNETES_SERVICE_HOST": SERVICE_ADDRESS, **image}
        while True:
            with replica.log.open("ab") as output:
                replica.process = await asyncio.create_subprocess_exec(
                    *("setpriv", "--pdeathsig", "KILL", "--", *replica.command),
                    env={**os.environ, **environment},
                    stdout=output,
                    stderr=output,
                )
            replica.starts += 1
            try:
                await replica.process.wait()
            except asyncio.CancelledError:
                replica.process.kill()
                raise
            await asyncio.sleep(RESTART_AFTER)

    async def _is_ready(self, replica: Operator) -> bool:
        with suppress(aiohttp.ClientError):
            async with self.http.get(f"{replica.url}/readyz") as response:
                return response.status == 200
        return False

    def _config(self, number: int, canary_port: int) -> str:
        """What the chart rendered; but replicas share this machine's ports, and no DNS finds the egress plane."""
        path = self.folder / f"installation-{number}.yaml"
        name = f"configmap/{RELEASE}-installation"
        rendered = kubectl(self.made.kubeconfig, "get", name, "--namespace", NAMESPACE, "--output", "yaml")
        config = yaml.safe_load(yaml.safe_load(rendered)["data"]["installation.yaml"])
        config["canary"]["port"] = canary_port
        config["egress"]["peersUrl"] = self.egress_url
        path.write_text(yaml.safe_dump(config))
        return str(path)

    def _kubeconfig(self) -> str:
        path = self.folder / "operator.kubeconfig"
        account = (f"{RELEASE}-operator", "--namespace", NAMESPACE, "--duration=12h")
        config = yaml.safe_load(self.made.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": kubectl(self.made.kubeconfig, "create", "token", *account).strip()}
        path.write_text(yaml.safe_dump(config))
        return str(path)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
