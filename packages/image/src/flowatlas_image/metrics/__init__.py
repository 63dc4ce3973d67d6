"""How far samples of images are from the data."""

from flowatlas_image.metrics.classifier import Classifier as Classifier
from flowatlas_image.metrics.classifier import class_accuracy as class_accuracy
from flowatlas_image.metrics.classifier import train_classifier as train_classifier
from flowatlas_image.metrics.efficientnet import EfficientNetLite0 as EfficientNetLite0
from flowatlas_image.metrics.efficientnet import kid_lite0 as kid_lite0
from flowatlas_image.metrics.frechet import frechet_distance as frechet_distance
from flowatlas_image.metrics.frechet import gaussian_frechet_distance as gaussian_frechet_distance
from flowatlas_image.metrics.kernel import kernel_distance as kernel_distance
from flowatlas_image.metrics.neighbours import Neighbours as Neighbours
from flowatlas_image.metrics.neighbours import neighbours as neighbours
