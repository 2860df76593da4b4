"""The restricted profile of Pod Security, for a pod's spec.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (both profiles' controls).
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}


def violations(spec: dict[str, Any]) -> list[str]:
    """Return why a pod would be refused, as ``field: reason``; empty if it would be admitted."""
    return [*_pod(spec), *(problem for item in _containers(spec) for problem in _container(item, spec))]


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or []


def _pod(spec: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field}: must not be set"
    for volume in spec.get("volumes") or []:
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volumes.{volume['name']}: {kind} is not allowed"
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctls: {sysctl['name']} is not allowed"
    yield from _context("pod", spec.get("securityContext") or {})


def _context(name: str, context: dict[str, Any]) -> Iterator[str]:
    """Yield what must not be said, for a pod and for a container alike."""
    if context.get("runAsUser") == 0:
        yield f"{name}.runAsUser: must not be 0"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name}.hostProcess: must not be set"
    if (context.get("seLinuxOptions") or {}).get("type", "") not in SELINUX:
        yield f"{name}.seLinuxOptions.type: is not allowed"
    if {"user", "role"} & (context.get("seLinuxOptions") or {}).keys():
        yield f"{name}.seLinuxOptions: user and role must not be set"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{name}.appArmorProfile: is not allowed"


def _container(item: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    name, context = item["name"], item.get("securityContext") or {}
    pod = spec.get("securityContext") or {}
    yield from _context(name, context)
    if context.get("privileged"):
        yield f"{name}.privileged: must not be set"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}.allowPrivilegeEscalation: must be false"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}.procMount: must be Default"
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{name}.runAsNonRoot: must be true"
    if (context.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in SECCOMP:
        yield f"{name}.seccompProfile: must be RuntimeDefault or Localhost"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}.capabilities.drop: must hold ALL"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}.capabilities.add: only NET_BIND_SERVICE is allowed"
    if any(port.get("hostPort") for port in item.get("ports") or []):
        yield f"{name}.hostPort: must not be set"
