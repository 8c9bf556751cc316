"""``check_parity``: one model, one ONNX file, one report."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from any2onnx.errors import MalformedFile, UnknownOption, UsageError, did_you_mean
from any2onnx.io.worker import note
from any2onnx.parity.arrays import ArrayStore
from any2onnx.parity.cases import Case, Skip
from any2onnx.parity.divergence import locate
from any2onnx.parity.evaluate import Evaluator
from any2onnx.parity.judging import Options
from any2onnx.parity.proofs import proofs
from any2onnx.parity.providers import resolved
from any2onnx.parity.reference import Binding, FrameworkRejects, OutputRequest, Reference, make_reference
from any2onnx.parity.report import OutputResult, ParityInterrupted, ParityReport, interruption
from any2onnx.parity.running import Runs, pieces
from any2onnx.parity.runtime import OnnxFile, OnnxSession, read_onnx
from any2onnx.parity.search import search_worst
from any2onnx.parity.signature import Feeds, Signature, feeds_from_data
from any2onnx.parity.suites import Plan, cases, require_sizes, suite_names
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from any2onnx.parity.findings import Divergence
    from any2onnx.tree_ensemble.ir import TreeEnsemble

# Sizes to try for a free axis when nothing else says what the model can take.
_TRIED_SIZES = (8, 16, 32, 64, 224, 4, 2, 1)
# A failure of one case may not be locatable (a shape, say) where that of another is.
_TRIED_RESULTS = 4


def check_parity(
    model: Any,
    onnx_model: Any,
    data: Any = None,
    *,
    suites: str | Sequence[str] = "default",
    seed: int = 0,
    reference: Literal["float64", "framework"] = "float64",
    budget: Literal["auto"] | float = "auto",
    outputs: OutputRequest = None,
    time_limit: float | None = None,
    providers: Sequence[Any] | None = None,
    save_arrays: str | os.PathLike[str] | None = None,
    localise: bool = False,
    prove: bool = False,
    search: float | None = None,
    artefacts: str | os.PathLike[str] | None = None,
    read_trees: Callable[[Any], TreeEnsemble] | None = None,
) -> ParityReport:
    """Compare a model with its ONNX form, whoever made it.

    Every output is compared in name, count, shape, dtype, NaN and infinities, and values. Values are judged against
    the framework in float64 on the same float32 points, and an error is excused only by the conditioning of the model
    and by the framework's own error, both measured here.

    Args:
        model: A fitted scikit-learn estimator or pipeline, a Keras 3 model, a torch module or ExportedProgram, or a
            function that takes one array per ONNX input. It is not changed.
        onnx_model: onnx.ModelProto, onnx_ir.Model, bytes or the path of a trusted file.
        data: Rows of the user's own: array, DataFrame, mapping from input names, or one array per input. They are
            compared as they are, and other inputs are drawn like them.
        suites: ``default`` (all), ``smoke`` (a quick look), or names among those of ``suites.SUITES``.
        seed: Changes the generated inputs.
        reference: ``float64``, or ``framework`` to measure against the framework as it is run.
        budget: ``auto``, or the largest accepted error relative to the scale of an output.
        outputs: scikit-learn: the method behind each output, in order or by output name. Other frameworks: the names
            that the outputs must have; Keras: also a mapping from names to ``channels_first`` or ``channels_last``.
        time_limit: Seconds after which no new case is begun; what was left out makes the result inconclusive.
        providers: Execution providers for onnxruntime, the CPU by default: names, or pairs of name and options. TF32
            and the like are switched off unless the options say otherwise.
        save_arrays: Folder for all compared arrays, from which every number of the report can be computed again.
        localise: For every failing output find the first place where the model goes wrong (``report.divergences``).
        prove: State what holds for all inputs: decisions of trees, error bounds of affine chains (``report.proofs``).
        search: Seconds to search for rows that are worse than the generated ones (``report.searches``); a row beyond
            its budget fails the report.
        artefacts: Folder for what these find: ``culprit.onnx``, ``inputs.npz`` and ``repro.py`` of a divergence, the
            worst rows of a search.
        read_trees: For ``prove``: returns the trees of an estimator and raises NotAModel for what has none;
            ``any2onnx.check_parity`` passes its own.

    Returns:
        The report. It never raises for a failed comparison: see ``ParityReport.raise_if_failed``.

    Raises:
        ParityInterrupted: Ctrl-C, a KeyboardInterrupt whose ``report`` holds what was found until then.
        NotAModel: ``model`` or ``onnx_model`` is none.
        NotFitted: The estimator or Keras model is not fitted or built.
        MalformedFile: onnxruntime or onnx cannot read the ONNX model.
        UsageError: An argument does not fit (also UnknownOption, InvalidType).
        MissingDependency: onnxruntime, or a package for the data, is not installed.
    """
    start = time.monotonic()
    chosen = suite_names(suites)
    keep = None if save_arrays is None else ArrayStore(pathlib.Path(save_arrays))
    pair = open_pair(
        model,
        onnx_model,
        data,
        seed=seed,
        options=check_options(reference, budget),
        outputs=outputs,
        providers=providers,
        keep=keep,
    )
    results = structure_results(pair.binding, chosen)
    folder = None if artefacts is None else pathlib.Path(artefacts)
    found: dict[str, Any] = {}
    stage = "suites"
    try:
        try:
            _run_suites(pair, chosen, None if time_limit is None else start + time_limit, results)
        finally:
            if keep is not None:
                keep.close()
        if search is not None:
            stage = "search"
            note("search for worse rows")
            worse, found["searches"] = search_worst(pair, seconds=search, folder=folder)
            results += worse
        if prove:
            stage = "proofs"
            found["proofs"] = proofs(pair, model, read_trees)
        if localise:
            stage = "first divergence"
            note("location of the first divergence")
            found["divergences"] = divergences(pair, results, folder)
    except KeyboardInterrupt as stop:
        if stage != "suites":  # the suites say by themselves which case was under way
            results.append(interruption(stage, stage))
        report = pair.report(chosen, results, elapsed=time.monotonic() - start)
        raise ParityInterrupted(dataclasses.replace(report, state="interrupted", **found)) from stop
    return dataclasses.replace(pair.report(chosen, results, elapsed=time.monotonic() - start), **found)


def divergences(
    pair: OpenPair, results: Sequence[OutputResult], folder: pathlib.Path | None = None
) -> tuple[Divergence, ...]:
    """Locate the first divergence behind the worst failure of every output.

    Args:
        pair: The opened pair.
        results: Its results.
        folder: Where reproducers are written, one folder for each output; None writes none.
    """
    # The rows of a search are no case of a suite, which is what can be run again.
    failed = [result for result in results if result.status == "failed" and result.suite != "search"]
    found = []
    for output in dict.fromkeys(result.output for result in failed):
        place = None if folder is None else folder / "".join(c if c.isalnum() else "_" for c in output)
        mine = sorted((result for result in failed if result.output == output), key=_telling, reverse=True)
        tried = (locate(pair, result, place) for result in mine[:_TRIED_RESULTS])
        divergence = next((item for item in tried if item is not None), None)
        if divergence is not None:
            found.append(divergence)
    return tuple(found)


def _telling(result: OutputResult) -> tuple[bool, tuple[Any, ...]]:
    """Order failed results by what they tell about the place of a mistake: numbers first, then the worst."""
    return np.isfinite(result.budget_used) or result.wrong > 0, (result.badness,)


@dataclasses.dataclass(frozen=True)
class OpenPair:
    """A model and its ONNX form, ready to be compared on any rows.

    Attributes:
        runner: The framework's side.
        onnx_file: The ONNX side.
        plan: The inputs.
        binding: Which result belongs to which output.
        evaluator: Judges cases.
        notes: What holds for the whole comparison.
    """

    runner: Reference
    onnx_file: OnnxFile
    plan: Plan
    binding: Binding
    evaluator: Evaluator
    notes: tuple[str, ...]

    def report(
        self, suites: Sequence[str], results: Sequence[OutputResult], notes: Sequence[str] = (), elapsed: float = 0.0
    ) -> ParityReport:
        """Return the report of some results."""
        return ParityReport(
            framework=self.runner.framework,
            model=self.runner.model_name,
            producer=self.onnx_file.producer,
            opsets=self.onnx_file.opsets,
            versions=_versions(self.runner),
            inputs=self.plan.signature.describe(),
            suites=tuple(suites),
            seed=self.plan.seed,
            results=tuple(results),
            notes=(*self.notes, *notes),
            graph=self.onnx_file.picture,
            elapsed=elapsed,
        )


def open_pair(
    model: Any,
    onnx_model: Any,
    data: Any,
    *,
    seed: int,
    options: Options,
    outputs: OutputRequest,
    providers: Sequence[Any] | None,
    keep: ArrayStore | None = None,
) -> OpenPair:
    """Load both sides, tie their outputs, and measure scale and determinism on a first case."""
    providers = resolved(providers)
    runner = make_reference(model)
    onnx_file = read_onnx(onnx_model)
    runner.declare(onnx_file)
    note("start of onnxruntime on the model")
    session = OnnxSession(onnx_file, providers=providers)
    notes: list[str] = []
    plain = _plain_session(onnx_file, providers, notes)
    plan = _plan(model, runner, session, data, seed)
    note("first run of the original model")
    baseline, plan = _baseline(plan, runner)
    runner.prepare(plan.signature)
    binding = runner.bind(session.outputs, outputs, onnx_file, _one_piece(baseline, plan.signature))
    if binding.note:
        notes.append(binding.note)
    runs = Runs(
        runner, session, plain, plan.signature, double=options.double and plan.signature.widest_float is not None
    )
    evaluator = Evaluator(runs, binding, plan, onnx_file, options, keep)
    note(f"first run of both models, suite {baseline.suite}")
    notes += evaluator.learn(baseline)
    return OpenPair(runner, onnx_file, plan, binding, evaluator, tuple(notes))


def check_options(reference: str, budget: Any) -> Options:
    """Return the caller's choices.

    Raises:
        UsageError: There is no such reference, or the budget is no number that makes sense.
    """
    if reference not in ("float64", "framework"):
        raise UnknownOption(
            f"there is no reference {reference!r}{did_you_mean(reference, ('float64', 'framework'))}",
            needs="float64 or framework",
        )
    if budget == "auto":
        return Options(double=reference == "float64", budget=None)
    if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not budget >= 0:
        raise UsageError(f"budget is {budget!r}", needs="'auto' or a number that is not negative")
    return Options(double=reference == "float64", budget=float(budget))


def _plain_session(onnx_file: OnnxFile, providers: Sequence[Any] | None, notes: list[str]) -> OnnxSession | None:
    """Open the session without graph optimisations; some models only load with them."""
    try:
        return OnnxSession(onnx_file, optimised=False, providers=providers)
    except MalformedFile as error:
        notes.append(f"onnxruntime loads the model only with graph optimisations: {error.where}")
        return None


def _plan(model: Any, runner: Reference, session: OnnxSession, data: Any, seed: int) -> Plan:
    signature = Signature.from_ports(session.inputs)
    if data is None:
        signature = runner.refine(signature, None)
        return Plan(signature, runner.framework, model, runner.model_name, seed)
    data = runner.select(data, signature)
    feeds = feeds_from_data(data, signature)
    if signature.inputs and any(values.size == 0 for values in feeds.values()):
        raise UsageError("the data has no rows", remedy="pass at least one row, or no data")
    signature = runner.refine(signature.with_data(feeds), data)
    return Plan(signature, runner.framework, model, runner.model_name, seed, feeds)


def _baseline(plan: Plan, runner: Reference) -> tuple[Case, Plan]:
    """Return inputs that the model accepts, with a size for every free axis.

    Raises:
        UsageError: The framework rejects everything that can be drawn.
    """
    require_sizes(plan.signature)
    runner.prepare(plan.signature)
    missing = [symbol for symbol in plan.signature.free_symbols if symbol not in plan.sizes]
    reason = ""
    for size in _TRIED_SIZES if missing else (0,):
        sizes = {**plan.sizes, **dict.fromkeys(missing, size)}
        tried = dataclasses.replace(plan, signature=plan.signature.with_sizes(sizes))
        for suite in ("data", "typical"):
            for case in cases(tried, suite):
                if isinstance(case, Skip):
                    continue
                try:
                    runner.accepts(_one_piece(case, tried.signature))
                except FrameworkRejects as error:
                    reason = str(error)
                    break
                return case, tried
    raise UsageError(
        f"{plan.model_name} rejects the inputs that were drawn for it",
        where=reason,
        needs=plan.signature.describe(),
        remedy="pass data: rows that the model accepts",
    )


def _one_piece(case: Case, signature: Signature) -> Feeds:
    """Return inputs for one call: the whole case, or as many rows of it as a fixed batch takes."""
    fixed = signature.fixed_batch
    return case.feeds if fixed is None else pieces(case.feeds, case.rows, fixed)[0]


def structure_results(binding: Binding, suites: Sequence[str]) -> list[OutputResult]:
    """Return a mismatch for every wrong name or count of outputs."""
    return [
        OutputResult(
            problem.output, "", "structure", "names and count", Verdict.MISMATCH, budget_used=np.inf, note=problem.note
        )
        for problem in binding.problems
    ]


def _run_suites(pair: OpenPair, suites: Sequence[str], deadline: float | None, results: list[OutputResult]) -> None:
    """Add the results of all cases to a list, which is whole up to the case in which an interrupt comes."""
    for suite in suites:
        if suite == "shape":
            results += [
                OutputResult(
                    "",
                    "",
                    suite,
                    "free axes",
                    Verdict.MISMATCH,
                    budget_used=np.inf,
                    note=f"{text}, the model takes any",
                )
                for text in pair.runner.fixed_axes(pair.plan.signature)
            ]
        name = "inputs"
        try:
            for case in cases(pair.plan, suite):
                name = case.name
                if deadline is not None and time.monotonic() > deadline:
                    results.append(interruption(suite, name, "time limit reached"))
                elif isinstance(case, Skip):
                    results.append(OutputResult("", "", suite, name, None, note=case.reason))
                else:
                    note(f"suite {suite}, case {name}")
                    results += pair.evaluator.evaluate(case)
        except KeyboardInterrupt:
            results.append(interruption(suite, name))
            raise


def _versions(runner: Reference) -> tuple[tuple[str, str], ...]:
    import onnxruntime

    found: Mapping[str, str] = {
        "framework": runner.version,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    return tuple((name, version) for name, version in found.items() if version)
