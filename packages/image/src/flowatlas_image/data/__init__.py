"""Sets of images with their classes, and image files."""

from flowatlas_image.data.cifar10 import CIFAR10 as CIFAR10
from flowatlas_image.data.cifar10 import read_cifar10 as read_cifar10
from flowatlas_image.data.digits import DIGITS as DIGITS
from flowatlas_image.data.image_set import ImageSet as ImageSet
from flowatlas_image.data.labelled import ImageParts as ImageParts
from flowatlas_image.data.labelled import LabelledImages as LabelledImages
from flowatlas_image.data.mnist import FASHION as FASHION
from flowatlas_image.data.mnist import MNIST as MNIST
from flowatlas_image.data.png import read_png as read_png
from flowatlas_image.data.png import write_png as write_png
