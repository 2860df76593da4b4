"""The component ``train_candidate``."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.GPU, packages_to_install=[], install_kfp_package=False)
def train_candidate(
    dataset: Input[Dataset],
    model: Output[Model],
    candidate: dict,
    base_model: str,
    screening_epochs: int = -1,
    checkpoint_uri: str = "",
    checkpoint_steps: int = 200,
    prices: dict = {},  # noqa: B006  (KFP records the default; it is never mutated)
):
    """Train one candidate of a sweep; a candidate that crashes is a result, not a failure.

    The training runs in a process of its own, so that the step outlives one that diverges, is out of memory or refuses
    its parameters; select_best then says which candidates those were.

    Args:
        dataset: A prepared data set; tokenised again here for a candidate with another base model.
        model: The fine-tuned model and candidate.json; that file alone after a failure.
        candidate: name, and any of the parameters of train_classifier and base_model.
        base_model: URI of the model that the data set was tokenised for; a candidate may name another.
        screening_epochs: Train this long only, to see whether the candidate is worth it; 0 does not train at all, and
            -1 trains as long as the candidate says.
        checkpoint_uri: Where checkpoints are kept, file:///directory or s3://bucket/prefix; empty for nowhere.
        checkpoint_steps: The most steps of work that are lost when the step is killed.
        prices: For the estimate of energy and cost, see train_classifier.
    """
    from kfp_textclf.components.candidate import stage

    model.framework = "pytorch"
    model.metadata.update(
        stage.train_candidate(
            dataset.path,
            model.path,
            candidate=candidate,
            base_model=base_model,
            screening_epochs=screening_epochs,
            checkpoint_uri=checkpoint_uri,
            checkpoint_steps=checkpoint_steps,
            prices=prices,
        ).metadata()
    )
