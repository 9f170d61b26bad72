"""What a stranger wrote: files, JSON and text, read so that they neither run, hang, exhaust nor deceive. No torch."""

from lip_plugin.untrusted.document import parse_document as parse_document
from lip_plugin.untrusted.reading import open_regular as open_regular
from lip_plugin.untrusted.reading import read_piece as read_piece
from lip_plugin.untrusted.reading import read_regular as read_regular
from lip_plugin.untrusted.tensors import LARGEST_HEADER as LARGEST_HEADER
from lip_plugin.untrusted.tensors import PREFIX_BYTES as PREFIX_BYTES
from lip_plugin.untrusted.tensors import TensorEntry as TensorEntry
from lip_plugin.untrusted.tensors import tensor_entries as tensor_entries
from lip_plugin.untrusted.text import few as few
from lip_plugin.untrusted.text import is_plain_name as is_plain_name
from lip_plugin.untrusted.text import is_plain_text as is_plain_text
from lip_plugin.untrusted.text import printable as printable
