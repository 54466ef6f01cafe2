"""The jobs of a sweep, as Hydra composes them: their labels, their checks, and their results for Hydra.

The module's name begins with an underscore, so that Hydra does not search it for plugins.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.errors import CompactHydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from seqadd.config.schema import Config
    from seqadd.search.study import SuggestedTrial

_TRIAL = "tracking.trial="  # how the override that gives a trial its number begins


class Job(NamedTuple):  # not a dataclass, which needs its module in sys.modules; Hydra has not added it yet
    """One job of a sweep: its overrides, the configuration that Hydra composes from them, and the checked Config."""

    overrides: list[str]
    composed: DictConfig
    config: Config

    def returned(self, number: int, run_id: str) -> JobReturn:
        """The result of a successful job in the form that Hydra's launchers use, with ``run_id`` as return value."""
        of_hydra = copy.deepcopy(OmegaConf.masked_copy(self.composed, "hydra"))
        with open_dict(of_hydra):
            of_hydra.hydra.job.id = str(number)
            of_hydra.hydra.job.num = number
            of_hydra.hydra.runtime.output_dir = os.getcwd()
        result = JobReturn(
            overrides=list(self.composed.hydra.overrides.task),
            cfg=_without_hydra(self.composed),
            hydra_cfg=of_hydra,
            working_dir=os.getcwd(),
            task_name=JobRuntime.instance().get("name"),
            status=JobStatus.COMPLETED,
        )
        result.return_value = run_id
        return result


def _without_hydra(composed: DictConfig) -> DictConfig:
    """The configuration without the node ``hydra``."""
    cfg = copy.deepcopy(composed)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def compose_job(hydra_context: HydraContext, config: DictConfig, overrides: Sequence[str]) -> Job:
    """Composes and checks one job of a sweep.

    Raises:
        ConfigError: naming the job, if its configuration cannot be run.
    """
    from seqadd.config.composition import from_hydra
    from seqadd.config.hydra_setup import check_job
    from seqadd.errors import ConfigError

    composed = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    try:
        check_job(config, composed)
        checked = from_hydra(_without_hydra(composed), composed.hydra)
    except ConfigError as error:
        raise ConfigError(f"{error} (job {' '.join(overrides)}; no job was started)") from error
    return Job(list(overrides), composed, checked)


def compose_jobs(
    hydra_context: HydraContext, config: DictConfig, each: Iterable[Sequence[str]], *, skip_invalid: bool
) -> list[Job]:
    """Composes and checks the jobs of a sweep.

    Args:
        hydra_context, config: see ``compose_job``.
        each: the overrides of each.
        skip_invalid: whether a job that cannot be run is left out, with a line that says why.

    Raises:
        ConfigError: for a job that cannot be run, or if no job is left.
    """
    from seqadd.cli.console import print_line
    from seqadd.errors import ConfigError

    jobs, left_out = [], []
    for overrides in each:
        try:
            jobs.append(compose_job(hydra_context, config, overrides))
        except ConfigError as error:
            if not skip_invalid:
                raise
            left_out.append(f"left out: {' '.join(overrides)}  {error.__cause__ or error}")
    if not jobs:
        raise ConfigError(f"hydra.sweeper.skip_invalid: no combination can be run; {left_out[0]}")
    for line in left_out:
        print_line(line)
    return jobs


def check_program(config: DictConfig, plugin: object) -> None:
    """Raises Hydra's CompactHydraException, of one line, if a program other than seqadd uses a plugin of seqadd.

    The plugins need seqadd's configuration, and can only train seqadd's models.
    """
    of = OmegaConf.get_type(config)
    if of is None or f"{of.__module__}.{of.__qualname__}" != "seqadd.config.schema.Config":
        name = f"{type(plugin).__module__}.{type(plugin).__name__}"
        raise CompactHydraException(f"{name} runs nothing but seqadd.run")


def labels(jobs: Sequence[Sequence[str]], among: Sequence[Sequence[str]]) -> list[str]:
    """The label of each job: ``trial 3`` in a search, else its overrides that not all jobs of the sweep share.

    The label of a single job has all its overrides.
    """
    shared = set.intersection(*map(set, among)) if len(among) > 1 else set()
    found = []
    for job in jobs:
        trial = next((each.removeprefix(_TRIAL) for each in job if each.startswith(_TRIAL)), None)
        varied = " ".join(each for each in job if each not in shared and not is_private(each))
        found.append(varied or "defaults" if trial is None else f"trial {trial}")
    return found


def label_override(label: str) -> str:
    """The override that gives a job its label; without quotes, which Hydra would read."""
    return "tracking.label='{}'".format(re.sub(r"[\\'\"$]", "", label))


def swept_first(arguments: Sequence[str], swept: Iterable[str]) -> list[str]:
    """The overrides of a sweep for its name: those of the swept keys, then the others; none that is private."""
    shown = [each for each in arguments if not is_private(each)]
    return sorted(shown, key=lambda override: override.partition("=")[0].lstrip("+") not in swept)


def is_private(override: str) -> bool:
    """Whether an override sets a ``tracking`` key, whose value may contain a password."""
    return override.lstrip("+~").startswith("tracking")


def check_batch_size(size: int | None) -> None:
    """Raises ConfigError for a batch size below 1."""
    from seqadd.config.schema import override_text
    from seqadd.errors import ConfigError

    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigError(
            f"hydra.sweeper.max_batch_size={override_text(size)}: must be an integer of at least 1, or null"
        )


def check_no_run_twice(jobs: Sequence[Job]) -> None:
    """Raises ConfigError if two jobs are the same run, as with ``seed=1,1``."""
    from seqadd.errors import ConfigError

    first: dict[tuple[str, str, str], Job] = {}
    for job in jobs:
        where = job.config.tracking
        same = first.setdefault((job.config.config_hash(), where.uri, where.experiment), job)
        if same is not job:
            one, other = (" ".join(each.overrides) for each in (same, job))
            which = f"{one}: two jobs" if one == other else f"{one} and {other}: two jobs"
            raise ConfigError(f"{which} of the sweep are the same run; name it once (no job was started)")


def of_trial(suggested: SuggestedTrial, own: Sequence[str]) -> list[str]:
    """The overrides of a trial: the suggested ones, and ``own``, which assign the trial to its search."""
    label = f"trial {suggested.number} {suggested.description}"
    return [*suggested.overrides, *own, f"{_TRIAL}{suggested.number}", label_override(label)]
