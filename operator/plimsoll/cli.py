"""The command ``plimsoll``. What a command needs is imported when it runs: ``plan`` starts fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from plimsoll import __version__
from plimsoll.compare.cli import compare
from plimsoll.simulator.cli import simulate

app = typer.Typer(
    name="plimsoll",
    help="Decides, across VMs and containers, whether to scale up or scale out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.command()(simulate)


@app.command()
def plan(
    filename: Annotated[
        list[str],
        typer.Option(
            "--filename",
            "-f",
            metavar="FILE|DIR|-",
            help="YAML or JSON to plan for: a file, a directory (read recursively) or - for "
            "standard input. May be given several times.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="table|json|yaml", help="How to print the plan."),
    ] = "table",
    now: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time
        typer.Option(
            metavar="TIME",
            help="The moment to plan for (RFC 3339), which makes runs repeatable. Default: that "
            "of the newest measurement in the files, else the present.",
        ),
    ] = None,
    expendable_below: Annotated[
        int,
        typer.Option(
            metavar="PRIORITY",
            help="Pods of a lower priority are filling: no VM is kept, grown or launched for them.",
        ),
    ] = -10,
) -> None:
    """Plan offline, from manifests or from a dump of a cluster; nothing is changed.

    The files may hold Hypervisors, VMPools, VMNodes, ContainerWorkloads, Nodes, Pods,
    Deployments, StatefulSets, ReplicaSets, DaemonSets, Jobs, PodDisruptionBudgets,
    RuntimeClasses, PriorityClasses, Namespaces, PersistentVolumes, PersistentVolumeClaims,
    StorageClasses, CSINodes, CSIDrivers, CSIStorageCapacities, PodMetrics and NodeMetrics, one by
    one or in Lists: `kubectl get pods,nodes -A -o json` is fine. Controllers are expanded into
    the pods that they lack. Other kinds are skipped.

    Exit codes: 0 nothing to do, or a plan that gives every pod a place; 2 bad input, each error
    with file, document and JSON path; 3 pods stay without a place.
    """
    from plimsoll.offline.command import Output, main

    if output not in set(Output):
        choices = ", ".join(Output)
        raise typer.BadParameter(f"{output!r} is none of {choices}", param_hint="--output")
    raise typer.Exit(main(filename, Output(output), now, expendable_below))


@app.command()
def run(
    kubeconfig: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time
        typer.Option(help="Cluster to operate. Default: as kubectl finds it, or the pod's own."),
    ] = None,
    context: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Context of the kubeconfig. Default: the current one."),
    ] = None,
    namespace: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The operator's own namespace. Default: plimsoll-system."),
    ] = None,
    log_level: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR. Default: INFO."),
    ] = None,
) -> None:
    """Run the operator until it is interrupted.

    Every setting can be given as a variable PLIMSOLL_* too, such as PLIMSOLL_HTTP_PORT; an
    option goes before its variable.
    """
    from plimsoll.run import main
    from plimsoll.settings import Settings, SettingsError

    try:
        settings = Settings.load(
            kubeconfig=kubeconfig, context=context, namespace=namespace, log_level=log_level
        )
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(main(settings))


@app.command()
def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD|KIND",
            help="A ContainerWorkload, as NAME or NAMESPACE/NAME; or pod, vmpool or cw, followed "
            "by a NAME or written like pod/NAME.",
        ),
    ],
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="NAME", help="Name of the pod, VMPool or ContainerWorkload."),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the NAME.")
    ] = "default",
    filename: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--filename",
            "-f",
            metavar="FILE|DIR|-",
            help="Explain from files, as `plimsoll plan` reads them, instead of a cluster.",
        ),
    ] = None,
    now: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="TIME", help="With files: the moment to plan for (RFC 3339)."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Of a pod: name all VMs, however many.")
    ] = False,
    kubeconfig: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Cluster to ask. Default: as kubectl finds it."),
    ] = None,
    context: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Context of the kubeconfig. Default: the current one."),
    ] = None,
    expendable_below: Annotated[
        int,
        typer.Option(
            metavar="PRIORITY",
            envvar="PLIMSOLL_EXPENDABLE_BELOW",
            help="The operator's setting: no VM is kept, grown or launched for pods of a lower "
            "priority.",
        ),
    ] = -10,
) -> None:
    """Explain what was decided, what would be now, why, and what was rejected.

    Of a pod: where it goes, and for each VM and each pool why it does not go there, in
    kube-scheduler's own words. Nothing is changed.

    Exit codes: 0 explained, 1 the cluster cannot be asked, 2 bad input, or there is no such
    object.
    """
    from plimsoll.explain.command import main
    from plimsoll.explain.question import Question

    question = Question.parse(f"{what}/{name}" if name is not None else what, namespace)
    raise typer.Exit(
        main(question, filename or (), now, everything, kubeconfig, context, expendable_below)
    )


@app.command()
def crds(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to write; made if need be.")
    ] = Path("crds"),
) -> None:
    """Write the CustomResourceDefinitions of the four kinds."""
    from plimsoll.api.crd import write

    for path in write(directory):
        typer.echo(path)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
