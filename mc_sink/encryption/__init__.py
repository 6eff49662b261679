"""Encrypt files for their receiver while they are written: OpenPGP and age, each by a library that streams."""

from mc_sink.encryption.age import Age
from mc_sink.encryption.cipher import Cipher, key_text
from mc_sink.encryption.pgp import Pgp
from mc_sink.encryption.piped import ClearFile, encrypt_into
from mc_sink.encryption.public_keys import PublicKeys

__all__ = ["Age", "Cipher", "ClearFile", "Pgp", "PublicKeys", "encrypt_into", "key_text"]
