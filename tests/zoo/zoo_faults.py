"""Every plugin of the zoo: what is wrong with it, which check of the kit has to fail, and what it has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Plugin:
    """One plugin of the zoo.

    Args:
        kind: of a class of the kit: `backbone`, `head`, `task`, `strategy`, `dataset`, `observer` or `plugin`.
        name: in the catalogue; of a whole plugin the end of its name.
    """

    kind: str
    name: str

    @property
    def test_class(self) -> str:
        """The name of its class in `zoo_checks`."""
        return "Test" + "".join(word.title() for word in f"{self.kind}-{self.name}".split("-"))


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Args:
        wrong: the plugin that makes it.
        right: the same plugin without it.
        what: is wrong.
        check: the method of the kit's class that has to fail for it.
        says: a regular expression of the first line of the failure.
    """

    wrong: Plugin
    right: Plugin
    what: str
    check: str
    says: str


def _of(kind: str, right: str, *faults: tuple[str, str, str, str]) -> Iterable[Fault]:
    for name, what, check, says in faults:
        yield Fault(Plugin(kind, name), Plugin(kind, right), what, f"test_{check}", says)


FAULTS: tuple[Fault, ...] = (
    *_of(
        "backbone",
        "tame-net",
        ("drifting-norm", "a frozen BatchNorm drifts: it ignores eval mode",
         "frozen_stages_stay_bit_identical_at_every_depth", r"a training step moves a frozen stage.*running_mean"),
        ("another-forward", "forward(x) differs from suffix(prefix(x))",
         "suffix_of_prefix_equals_forward_at_every_cut", r"suffix\(prefix\(x, 0\), 0\) is not forward\(x\): pooled"),
        ("wrong-width", "declares 32 channels and gives 16",
         "features_have_the_declared_shapes", r"pooled has the shape \(\d+, 16\), declared is \[\d+, 32\]"),
        ("wrong-stride", "its first stage does not halve the picture, and its maps are named as if it did",
         "maps_have_the_size_that_their_stride_says", r"map\d is \(\d+, \d+\) for a picture of .*; stride \d gives"),
        ("shared-grid", "its state holds a tensor that is not batch first",
         "the_state_can_be_cached_row_by_row", r"holds grid of the shape \(16,\), which is not batch first"),
        ("number-in-state", "its state holds a number, which cannot be cached",
         "the_state_can_be_cached_row_by_row", r"holds height, a int: only tensors can be cached"),
        ("centred-on-batch", "its state depends on the other rows of the batch",
         "the_state_can_be_cached_row_by_row", r"the state of a row .* depends on the other rows of its batch"),
        ("reused-memory", "its state is a buffer that the next batch overwrites",
         "a_state_is_not_overwritten_by_the_next_batch", r"the next batch overwrites the state after 1 stages"),
        ("outsider", "a parameter is outside of all stages",
         "every_tensor_belongs_to_exactly_one_stage", r"scale is in 0 stages"),
        ("shared-norm", "a norm is in two stages",
         "every_tensor_belongs_to_exactly_one_stage", r"body\.1\.1\.weight is in 2 stages"),
        ("drops-in-evaluation", "dropout goes on in eval mode",
         "evaluating_twice_gives_the_same_features", r"they depend on random numbers or earlier calls"),
        ("in-place", "normalises its inputs in place",
         "the_inputs_are_left_as_they_were", r"evaluating changes the inputs: pixels"),
        ("detached", "a detach() between stages stops gradients",
         "gradients_reach_every_trainable_tensor_and_no_frozen_one", r"no gradient reaches backbone\.body\.0"),
        ("gives-everything", "gives a map that nobody needs",
         "only_needed_features_are_given_and_they_are_the_same", r"only \w+ was needed, given are .*map8"),
        ("counting", "counts its calls in a buffer, in eval mode too",
         "evaluation_changes_no_weight_and_no_buffer", r"evaluating a batch changes a weight or a buffer: body\.0\.calls"),
        ("not-saved", "draws a constant that is not saved with the weights",
         "saved_and_loaded_weights_give_the_same_features", r"saved and loaded weights give other features"),
        ("loses-own-names", "translate() drops tensors of its own",
         "its_own_key_names_pass_through_translate", r"translate does not pass its own key names on: .*num_batches_tracked"),
        ("writable-facts", "its input facts can be changed by whoever gets them",
         "input_facts_survive_pickling_and_are_plain_json", r"the input facts can be written to"),
        ("miscounted", "registry.yaml gives another number of parameters than the code has",
         "the_registry_says_what_the_code_does", r"registry\.yaml says of miscounted: 3720 parameters; it has 3752"),
        ("seeds-the-process", "seeds torch when it is built",
         "building_leaves_the_process_as_it_was", r"building the backbone seeds torch's global random numbers"),
        ("changes-dtype", "changes torch's default dtype when it is built",
         "building_leaves_the_process_as_it_was", r"changes torch's default dtype from torch\.float32 to torch\.float64"),
        ("changes-threads", "changes torch's number of threads when it is built",
         "building_leaves_the_process_as_it_was", r"changes torch's number of threads from \d+ to 1"),
        ("unseeded-weights", "draws its weights from a generator of its own that nobody seeds",
         "the_same_seed_builds_the_same_weights", r"built twice from one seed, the weights differ"),
    ),
    *_of(
        "head",
        "tame-linear",
        ("means-over-batch", "its loss is a mean over the batch and not a sum",
         "the_loss_of_a_batch_is_the_sum_of_its_rows", r"loss part loss .* must be a sum, and is a mean over the batch"),
        ("constant-count", "counts the batch size that it was written for",
         "the_loss_of_a_batch_is_the_sum_of_its_rows", r"the count of loss is 4 for a batch and 16 for its rows"),
        ("other-counts", "counts under another name than its loss",
         "loss_parts_and_their_counts_go_together", r"loss parts \['loss'\] and counts \['class'\] are not the same names"),
        ("peeks-at-targets", "predicts with the help of targets that its loss has seen",
         "predictions_do_not_remember_targets", r"predictions change once the loss has seen the targets"),
        ("drops-in-prediction", "dropout goes on in prediction",
         "predicting_twice_gives_the_same", r"predicting a batch again gives something else: it depends on random numbers"),
        ("seeds-in-loss", "its loss seeds torch for the whole process",
         "building_and_calling_leave_the_process_as_it_was", r"computing the loss seeds torch's global random numbers"),
        ("off-by-one", "predicts labels that are off by one from those it learns",
         "it_learns_one_batch_and_is_scored_for_it", r"reaches accuracy [\d.]+ on them.*labels off by one"),
        ("unused-parameter", "a parameter gets no gradient",
         "gradients_reach_every_parameter_and_the_features", r"no gradient reaches the parameter temperature"),
        ("cuts-gradients", "detaches its features: the backbone never learns",
         "gradients_reach_every_parameter_and_the_features", r"no gradient reaches the features pooled"),
        ("changes-features", "changes the features that it is given",
         "features_and_targets_are_left_as_they_were", r"computing the loss changes the features that it is given: pooled"),
        ("centres-on-batch", "a prediction depends on the rows beside it",
         "a_prediction_does_not_depend_on_the_rows_beside_it", r"the prediction for row 0 depends on the rows beside it"),
        ("first-row-only", "a prediction is not batch first",
         "predictions_come_row_by_row", r"the prediction classes has the shape \(3,\), and is not batch first"),
        ("names-beside-outputs", "gives words among its outputs",
         "outputs_are_tensors_batch_first", r"the output order is a list, and not a tensor"),
        ("scales-by-number", "reads a number on the way to its outputs",
         "outputs_follow_from_shapes_alone", r"in train mode, computing outputs from shapes alone .* raises DataDependent"),
        ("keeps-the-largest", "selects by a mask on the way to its outputs",
         "outputs_follow_from_shapes_alone", r"in train mode, computing outputs from shapes alone .* raises DynamicOutputShape"),
        ("remembers-places", "keeps a tensor that it made of the first features it saw",
         "outputs_follow_from_shapes_alone", r"keeps a tensor that it made of the first features it saw: logits"),
        ("levels-the-batch", "shifts its outputs by the largest of the batch, which no prediction shows",
         "outputs_do_not_depend_on_the_rows_beside_a_row", r"the outputs for row \d depend on the rows beside it: logits"),
        ("predicts-by-side", "predicts past its outputs",
         "predictions_are_what_postprocess_makes_of_outputs", r"predict is not postprocess\(outputs\(features\).*: logits"),
        ("postprocesses-in-place", "changes the outputs that it makes predictions of",
         "postprocess_leaves_outputs_and_features_as_they_were", r"postprocess changes the outputs that it is given: logits"),
        ("reads-more", "reads a feature where it is there, and does not declare it",
         "it_reads_only_what_it_declares", r"computing the loss reads map8, which the head declares neither in `needs`"),
        ("says-otherwise", "registry.yaml says that it needs maps, and it does not",
         "it_needs_what_the_registry_says", r"registry\.yaml says that the head needs map\*; it does not"),
        ("deaf-to-options", "registry.yaml has an option that the code never reads",
         "every_option_is_declared_and_read", r"declares the option dropout in its registry\.yaml and never reads it"),
        ("reads-undeclared", "reads an option that registry.yaml does not have",
         "every_option_is_declared_and_read", r"reads the option dropout, which its registry\.yaml does not declare"),
        ("unsaved-projection", "draws a constant that is not saved with the weights",
         "a_saved_model_predicts_the_same", r"what was saved does not load to the same model"),
    ),
    *_of(
        "head",
        "tame-pixels",
        ("learns-the-ignored", "learns pixels that are to be ignored",
         "ignored_targets_cost_nothing", r"loss part ce is [\d.e+]+ where every target is ignored"),
        ("averages-over-padding", "its loss is averaged over padding",
         "padding_changes_neither_loss_nor_counts", r"the loss is averaged over padding"),
    ),
    *_of(
        "head",
        "tame-boxes",
        ("nan-without-objects", "its loss is no number for a batch without objects",
         "a_batch_without_anything_to_find_has_a_finite_loss", r"loss part boxes .* is nan .* a batch without a single object"),
        ("fails-without-objects", "its loss raises for a batch without objects",
         "a_batch_without_anything_to_find_has_a_finite_loss", r"the loss of a batch without a single object raises"),
    ),
    *_of(
        "task",
        "tame-pictures",
        ("random-evaluation", "evaluates with the random transform of training",
         "evaluation_examples_are_always_the_same", r"in evaluation, a row is another one .* the transform is random"),
        ("once-mirrored", "gives other pixels to a reader that takes each row once",
         "evaluation_examples_are_always_the_same", r"in evaluation, a row is another one when it is to be read once"),
        ("unseeded-transform", "a transform in training draws from a generator that the run does not seed",
         "training_examples_depend_on_seed_epoch_and_row_alone", r"it draws numbers that are not torch's, or remembers"),
        ("counts-calls", "a transform in training depends on how many rows were loaded before",
         "training_examples_depend_on_seed_epoch_and_row_alone", r"when it is loaded again: .* or remembers"),
        ("pickled-closure", "its examples hold a closure, which no loader process can get",
         "examples_survive_another_process", r"pickling the examples, as loader processes need it, raises"),
        ("leaks-files", "opens a file for every row and closes none",
         "loading_leaves_no_file_open", r"loading rows for training leaves files open: .*tasks\.py"),
        ("facts-of-test", "counts classes over the test split too",
         "facts_come_from_the_training_split_alone", r"with the test and validation splits left out, .* train_counts"),
        ("facts-with-tuple", "its facts are not what they were once they are written as JSON",
         "facts_are_plain_json", r"the facts are others once they were written as JSON and read"),
        ("keeps-metrics", "a metric keeps what an earlier evaluation has told it",
         "metrics_start_afresh_and_compute_twice", r"fresh metrics remember rows of an earlier evaluation"),
        ("running-metric", "a metric is a running average: it depends on the order of batches",
         "metrics_do_not_depend_on_batches_or_their_order", r"metrics depend on the order of batches: accuracy"),
        ("averages-batches", "a metric is a mean over batches, large or small",
         "metrics_do_not_depend_on_batches_or_their_order", r"metrics depend on how rows are cut into batches: accuracy"),
        ("peeks-at-test", "a metric peeks at the test split",
         "metrics_know_only_facts_and_batches", r"they look at rows that are not in the batches, such as the test split"),
        ("decodes-tensors", "decodes predictions to what is no JSON",
         "predictions_are_decoded_to_plain_json", r"writing a decoded prediction as JSON raises TypeError"),
        ("raises-value-error", "raises a ValueError for a path that is not there",
         "bad_data_is_refused_in_one_clear_line", r"reading a path that is not there raises ValueError.*must be a DataError"),
        ("trusts-labels", "raises a TypeError for a row without a label",
         "a_broken_row_is_left_out_or_refused", r"a row with None for its label raises TypeError"),
        ("audits-in-place", "its audit changes the tables that it is given",
         "the_audit_changes_nothing_that_it_was_given", r"the audit changes the tables that it is given"),
        ("keeps-numbers", "labels keep their numbers when classes have another order",
         "labels_keep_their_meaning_when_aligned", r"aligned to classes in another order, digit \d+ is \d and was \d"),
        ("reads-in-any-order", "reads rows in another order each time",
         "reading_twice_gives_the_same_rows", r"read twice, the rows .*(differ|another order)"),
        ("other-metric-name", "registry.yaml names another primary metric than the code",
         "the_registry_entry_fits", r"primary_metric accuracy; the task chooses by balanced_accuracy"),
        ("guesses-right", "says that guessing scores as much as the truth",
         "guessing_scores_less_than_perfect_predictions", r"chance gives 1; .* of accuracy lies from -1 to below 1"),
    ),
    *_of(
        "task",
        "tame-detection",
        ("boxes-from-one", "counts a box's pixels from one when it decodes",
         "truth_survives_the_way_to_targets_and_back", r"is another: a box at .* pixels away"),
        ("swaps-axes", "swaps a box's axes when it decodes",
         "truth_survives_the_way_to_targets_and_back", r"is another: a box at .* pixels away"),
        ("inclusive-corners", "boxes end a pixel early in training, and not in evaluation",
         "training_targets_lie_where_the_truth_is", r"boxes that row \d is trained on, .* lie up to 1\.00 pixels away"),
    ),
    *_of(
        "strategy",
        "tame-two-phases",
        ("trains-the-frozen", "trains a stage that it says is frozen",
         "the_engine_takes_the_plan", r"the engine refuses the plan: .*lies in a frozen stage"),
        ("group-at-rest", "a group has the learning rate 0",
         "the_engine_takes_the_plan", r"group head of phase 'head' has the multiplier 0\.0: it would not train"),
        ("loses-an-epoch", "the epochs of its phases do not add up",
         "phases_last_as_long_as_asked", r"asked for 3 epochs, the phases last 1 \+ 1 = 2"),
        ("changes-weights", "changes weights in plan()",
         "planning_changes_nothing", r"planning changes the model's weights: that is for prepare\(\)"),
        ("freezes-itself", "freezes stages in plan()",
         "planning_changes_nothing", r"planning changes (which parameters want gradients|how many stages are frozen)"),
        ("plans-anew", "plans something else when it is asked again",
         "planning_twice_gives_the_same_plan", r"planned again for the same model, the plan is another one"),
        ("own-rate", "ignores the learning rate that the user asked for",
         "the_learning_rate_and_decay_are_respected", r"with twice the learning rate, group head .*ignores what the user asked"),
        ("decays-anyway", "has weight decay where the user wants none",
         "the_learning_rate_and_decay_are_respected", r"without weight decay, group head of phase head has 0\.05"),
    ),
    *_of(
        "strategy",
        "tame-pull",
        ("pulls-nothing", "its penalty has no gradient",
         "regularisers_are_finite_and_have_gradients", r"the penalty of \w+ has no gradient: it would change nothing"),
    ),
    *_of(
        "strategy",
        "tame-adapter",
        ("never-undone", "finish() does not undo prepare()",
         "finishing_keeps_the_predictions_and_gives_the_model_back", r"after finish\(\) the model is not its own backbone"),
        ("not-merged", "finish() drops the adapter without merging it",
         "finishing_keeps_the_predictions_and_gives_the_model_back", r"finish\(\) changes what the model predicts"),
        ("files-elsewhere", "finish() writes outside of the run directory",
         "the_files_of_finish_lie_in_the_run_directory", r"'\.\./adapter\.txt', which is no path within the run directory"),
        ("unseeded-adapter", "draws its adapter from a generator that the run does not seed",
         "what_is_drawn_depends_on_the_seed_alone", r"prepared twice with one seed, the model differs: head\.linear\.scale"),
    ),
    *_of(
        "dataset",
        "tame-digits",
        ("overlapping", "a row of train stands in test",
         "no_row_stands_in_two_splits", r"row \d+ of test stands in train too"),
        ("reshuffled", "its rows come in another order at every call",
         "the_same_rows_at_every_call", r"made twice, the rows of train differ or come in another order"),
        ("miscounted-digits", "registry.yaml gives another number of rows",
         "rows_are_as_many_as_the_registry_says", r"registry\.yaml says 99 rows, there are 42"),
        ("on-the-network", "asks the network",
         "it_needs_no_network", r"making the data set raises .*OSError: the network is asked for"),
        ("own-split-names", "calls its validation split dev",
         "splits_have_their_usual_names", r"the splits dev are none of train, validation, test"),
        ("labels-outside", "has a label without a name",
         "labels_lie_within_their_names", r"label of train holds \[-1\], and there are 3 names"),
        ("seeding", "seeds numpy for the whole process",
         "building_leaves_the_process_as_it_was", r"making the data set seeds numpy's global random numbers"),
    ),
    *_of(
        "observer",
        "tame-diary",
        ("raises", "raises at the end of an epoch",
         "it_watches_a_run_to_its_end", r"a run goes on without it: observer 'diary' failed in epoch_end \(KeyError"),
        ("writes-into-the-record", "writes into what it is told",
         "it_watches_a_run_to_its_end", r"a run goes on without it: observer 'diary' failed in epoch_end \(TypeError"),
        ("forces-the-record", "changes a record for those that are told after it",
         "it_leaves_what_it_is_told_as_it_was", r"epoch_end changes what it is told"),
        ("moves-weights", "finds the model and changes its weights",
         "it_changes_no_bit_of_the_training", r"a run that is watched gives another model"),
        ("writes-elsewhere", "writes into the working directory",
         "it_writes_into_the_run_directory_alone", r"it writes outside of the run directory: .*diary\.txt"),
        ("leaves-open", "never closes its file",
         "it_leaves_nothing_running", r"after the run it leaves files open: .*diary\.txt"),
        ("leaves-thread", "never ends its thread",
         "it_leaves_nothing_running", r"after the run it leaves threads running"),
        ("refuses-resume", "fails when a run is resumed",
         "it_goes_on_after_a_resume", r"a resumed run goes on without it: .*failed in fit_start \(FileExistsError"),
        ("refuses-failure", "fails when it is told of a failure",
         "it_is_told_of_a_failure", r"a run that fails goes on without it: .*failed in failure \(AttributeError"),
        ("seeds-when-built", "seeds torch when it is built",
         "building_leaves_the_process_as_it_was", r"building the observer seeds torch's global random numbers"),
        ("changes-threads-in-run", "changes torch's number of threads when a run begins",
         "watching_leaves_the_process_as_it_was", r"watching a run changes torch's number of threads from \d+ to 2"),
    ),
    *_of(
        "plugin",
        "tame",
        ("imports-torch", "imports torch at catalogue time",
         "importing_it_is_light_and_silent", r"importing graftwork_zoo_imports_torch imports .*torch"),
        ("prints", "prints at import",
         "importing_it_is_light_and_silent", r"importing graftwork_zoo_prints prints: welcome"),
        ("sets-environment", "changes an environment variable at import",
         "importing_it_is_light_and_silent", r"changes the environment variable OMP_DYNAMIC"),
        ("starts-a-thread", "starts a thread at import",
         "importing_it_is_light_and_silent", r"importing \w+ starts a thread"),
        ("unlisted", "has a builder that registry.yaml does not list",
         "every_entry_has_a_builder_and_every_builder_an_entry", r"the plugin builds extra .* registry\.yaml does not list"),
        ("unbuilt", "registry.yaml lists what has no builder",
         "every_entry_has_a_builder_and_every_builder_an_entry", r"registry\.yaml lists extra .* has no builder"),
        ("other-factory", "registry.yaml names a factory that is not there",
         "every_factory_is_its_builder", r"is built by graftwork_zoo_other_factory\.code:make; there is no such function"),
        ("seeds-at-import", "its code seeds torch when it is imported",
         "importing_its_code_changes_nothing_global", r"importing \w+\.code changes .*the seed of torch's random numbers"),
        ("sets-dtype-at-import", "its code changes torch's default dtype when it is imported",
         "importing_its_code_changes_nothing_global", r"importing \w+\.code changes torch's default dtype"),
        ("any-version", "does not say for which versions of graftwork it is",
         "it_says_for_which_versions_of_graftwork_it_is", r"requires-graftwork is missing"),
        ("without-licence", "does not say under which licence it is",
         "it_says_what_it_is_and_under_which_licence", r"does not say under which licence the plugin is"),
        ("strange-task", "its data set is for a task that does not exist",
         "entries_refer_to_what_is_there", r"data set extra-rows is for no-such-task, which is not installed"),
        ("lost-suite", "registry.yaml names the file of a suite that is not there",
         "suites_can_be_read_and_their_runs_resolve", r"reading the suite extra-suite raises UsageError: .*-suite\.yaml: "),
        ("returns-nothing", "a hook returns None",
         "its_entry_point_loads", r"loading the plugin raises PluginError: .*returned None from its hook"),
    ),
)  # fmt: skip
"""What the kit must catch."""

RIGHT: tuple[Plugin, ...] = tuple(dict.fromkeys(fault.right for fault in FAULTS))
"""What must pass whole classes of the kit."""
