"""The component ``publish_model``."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def publish_model(
    model: Input[Model],
    evaluation: Input[Artifact],
    published: Output[Model],
    publish_to: str,
    keep_versions: int = 0,
):
    """Publish a promoted model under an immutable version, and make it the champion.

    A version is named by its content and never changes, so publishing the same model twice changes nothing. The
    champion moves only if it is still the one that the model was compared with.

    Args:
        model: The int8 model.
        evaluation: Its evaluation, with the verdict promote.
        published: published.json: version, URI and the champion before it.
        publish_to: URI of the model store: file:///absolute/path or s3://bucket/prefix.
        keep_versions: Delete older versions than the newest so many, but never the champion nor the one before it; 0
            keeps all.
    """
    from kfp_textclf.components.publish import stage

    published.framework = "onnx"
    result = stage.publish(
        model.path, evaluation.path, published.path, publish_to=publish_to, keep_versions=keep_versions
    )
    published.metadata.update(result.metadata())
