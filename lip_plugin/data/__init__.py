"""Images for training and evaluation."""

from lip_plugin.data.datasets import load_image_set as load_image_set
from lip_plugin.data.datasets import load_images as load_images
from lip_plugin.data.datasets import load_npz as load_npz
from lip_plugin.data.download import download_image_set as download_image_set
from lip_plugin.data.find import find_pictures as find_pictures
from lip_plugin.data.images import ImageSet as ImageSet
from lip_plugin.data.images import checked_image_set as checked_image_set
from lip_plugin.data.labelled import LabelledImages as LabelledImages
from lip_plugin.data.labelled import load_into_memory as load_into_memory
from lip_plugin.data.picture_set import PictureSet as PictureSet
from lip_plugin.data.pictures import PictureSource as PictureSource
from lip_plugin.data.shipped import load_shipped as load_shipped
from lip_plugin.data.shipped import shipped_datasets as shipped_datasets
