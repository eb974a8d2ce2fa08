import numpy as np
import pytest
from support.studies import small_study

from fedpriv.errors import HomeError, Refused, StudyError
from fedpriv.legacy_keras import keras, tf
from fedpriv.model.allowlist import ALLOWED, check_layers
from fedpriv.model.folder import Card, Claim, SavedModel
from fedpriv.model.front import CELL, SmearFront
from fedpriv.model.network import build_model, build_network, restore, split_front
from fedpriv.model.weights import dimension, from_vector, model_digest, to_vector
from fedpriv.study import NetworkName

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    return build_network(NetworkName.SMEAR_CNN, image_size=64, classes=4)


def random_images(count, size=64):
    return np.random.default_rng(count).random((count, size, size, 3), dtype=np.float32)


def test_the_study_names_the_network_and_its_shape():
    model = build_model(small_study(("size = 64", "size = 32"), ('"Pre", "Pro"', '"Pre"')))
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 3)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match="resnet") as refusal:
        build_model(small_study(("smear-cnn", "resnet")))
    assert "smear-cnn" in refusal.value.hint


@pytest.mark.parametrize("name", NetworkName)
@pytest.mark.parametrize("size", [16, 64, 128])
def test_every_network_is_small_allowed_and_free_of_hidden_state(name, size):
    model = build_network(name, image_size=size, classes=4)
    check_layers(model)
    assert dimension(model) < 200_000
    assert not model.non_trainable_weights
    assert model(random_images(2, size)).shape == (2, 4)


def test_it_is_a_convolutional_network_over_maps(model):
    trunk = model.get_layer("trunk")
    convolutions = [layer for layer in trunk.layers if type(layer) is layers.Conv2D]
    assert len(convolutions) >= 2
    assert all(min(layer.output_shape[1:3]) > 1 for layer in convolutions)


def test_windows_of_the_field_vote_by_a_trained_convolution():
    model = build_network(NetworkName.HISTOGRAM_CNN, image_size=64, classes=4)
    trunk = model.get_layer("trunk")
    convolutions = [layer for layer in trunk.layers if type(layer) is layers.Conv2D]
    assert len(convolutions) == 1
    assert min(convolutions[0].output_shape[1:3]) > 1
    assert dimension(model) == 1024 * 4


def test_the_wide_network_has_twice_the_features():
    wide = build_network(NetworkName.HISTOGRAM_CNN_WIDE, image_size=64, classes=4)
    assert dimension(wide) == 2048 * 4


def test_everybody_starts_from_the_same_vector(model):
    other = build_network(NetworkName.SMEAR_CNN, image_size=64, classes=4)
    np.testing.assert_array_equal(to_vector(model), to_vector(other))


def test_the_network_before_training_knows_nothing(model):
    probabilities = tf.nn.softmax(model(random_images(3))).numpy()
    np.testing.assert_allclose(probabilities, 0.25, atol=1e-6)


def test_one_image_has_no_influence_on_the_answer_to_another(model):
    from_vector(model, np.random.default_rng(0).normal(0, 0.3, dimension(model)).astype(np.float32))
    images = random_images(4)
    together = model(images).numpy()
    images[1:] = 0
    np.testing.assert_allclose(model(images).numpy()[0], together[0], rtol=1e-4, atol=1e-5)


def test_front_and_trunk_are_the_whole(model):
    front, trunk = split_front(model)
    images = random_images(3)
    np.testing.assert_allclose(trunk(front(images)), model(images), rtol=1e-5, atol=1e-6)
    assert not front.weights
    assert [weight.name for weight in trunk.weights] == [weight.name for weight in model.weights]


def test_the_front_is_the_same_constants_for_everybody():
    front = SmearFront()
    images = random_images(2)
    first = front(images).numpy()
    assert front.weights == []
    np.testing.assert_array_equal(SmearFront()(images), first)
    assert first.shape[1:3] == (64 // CELL, 64 // CELL)
    assert np.isfinite(SmearFront()(np.zeros((1, 64, 64, 3), np.float32)).numpy()).all()
    assert np.abs(first).max() < 50


def test_front_maps_follow_the_image_when_it_is_turned():
    images = random_images(1)
    maps = SmearFront()(images).numpy()
    turned = SmearFront()(images[:, ::-1]).numpy()
    np.testing.assert_allclose(turned, maps[:, ::-1], atol=1e-4)


def test_weights_survive_the_vector(model):
    vector = np.random.default_rng(4).normal(size=dimension(model)).astype("<f4")
    from_vector(model, vector)
    np.testing.assert_array_equal(to_vector(model), vector)
    assert to_vector(model).dtype == np.dtype("<f4")
    assert len(model_digest(vector.tobytes())) == 32


def test_vectors_that_do_not_fit_are_refused(model):
    vector = to_vector(model)
    with pytest.raises(ValueError, match="does not fit"):
        from_vector(model, vector[:-1])
    vector[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        from_vector(model, vector)


def test_a_saved_model_answers_as_before(model):
    vector = np.random.default_rng(5).normal(size=dimension(model)).astype("<f4")
    from_vector(model, vector)
    restored = restore(SavedModel(make_card(vector), vector))
    images = random_images(2)
    np.testing.assert_array_equal(restored(images), model(images))


def test_a_saved_model_of_another_version_is_refused(model):
    vector = to_vector(model)
    with pytest.raises(HomeError, match="other-cnn"):
        restore(SavedModel(make_card(vector, network="other-cnn"), vector))
    with pytest.raises(HomeError, match="parameters"):
        restore(SavedModel(make_card(vector[1:]), vector[1:]))


def make_card(vector, network="smear-cnn"):
    return Card(
        study="test",
        study_digest="00",
        model_digest=model_digest(vector.tobytes()).hex(),
        network=network,
        classes=("a", "b", "c", "d"),
        image_size=64,
        parameters=len(vector),
        rounds=1,
        privacy=Claim(unit="image", noise="local", delta=1e-5, epsilon=3.0),
    )


class QuietBatchNorm(layers.BatchNormalization):
    """Slips through a deny-list that compares types."""


class QuietDense(layers.Dense):
    """A subclass of an allowed layer may do anything."""


def with_layer(layer):
    inputs = layers.Input((8, 8, 2))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (layers.BatchNormalization, "BatchNormalization is not on the list"),
        (QuietBatchNorm, "QuietBatchNorm is not on the list"),
        (lambda: QuietDense(2), "QuietDense is not on the list"),
        (lambda: layers.Lambda(lambda x: x - tf.reduce_mean(x, axis=0)), "Lambda"),
        (layers.LayerNormalization, "LayerNormalization"),
        (lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), "SpectralNormalization"),
        (lambda: layers.Conv2D(2, 3, kernel_regularizer="l2"), "kernel_regularizer"),
        (lambda: layers.Conv2D(2, 3, activity_regularizer="l2"), "activity_regularizer"),
        (lambda: layers.Dense(2, bias_constraint="non_neg"), "bias_constraint"),
        (lambda: layers.GroupNormalization(1, gamma_regularizer="l1"), "gamma_regularizer"),
        (lambda: layers.Conv2D(2, 3, trainable=False), "not trained"),
        (lambda: layers.Activation(lambda x: x / tf.reduce_max(x)), "activation"),
        (lambda: layers.Dense(2, activation=lambda x: x - tf.reduce_mean(x, axis=0)), "activation"),
    ],
)
def test_whatever_may_mix_records_or_hide_state_is_refused_by_name(make, word):
    with pytest.raises(Refused, match=word):
        check_layers(with_layer(make()))


def test_a_hidden_loss_is_refused():
    model = with_layer(layers.Dense(2))
    model.add_loss(lambda: tf.reduce_sum(model.trainable_weights[0]))
    with pytest.raises(Refused, match="loss"):
        check_layers(model)


def test_shared_weights_are_refused():
    inputs = layers.Input((8, 8, 2))
    shared = layers.Conv2D(2, 1, name="shared")
    with pytest.raises(Refused, match="shared is used more than once"):
        check_layers(keras.Model(inputs, shared(shared(inputs))))


def test_a_forbidden_layer_inside_a_nested_model_is_found():
    inner = with_layer(layers.BatchNormalization())
    inputs = layers.Input((8, 8, 2))
    with pytest.raises(Refused, match="BatchNormalization"):
        check_layers(keras.Model(inputs, inner(inputs)))


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        pass

    inputs = layers.Input((8, 8, 2))
    with pytest.raises(Refused, match="Own"):
        check_layers(Own(inputs, layers.Dense(2)(inputs)))


def test_no_normalisation_over_the_batch_is_on_the_list():
    names = {kind.__name__ for kind in ALLOWED}
    assert not any("Batch" in name for name in names)
    assert all(not issubclass(kind, layers.BatchNormalization) for kind in ALLOWED)
