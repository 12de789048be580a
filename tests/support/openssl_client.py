"""What one libssl makes of strings.

``openssl_client.py LIBSSL LIBCRYPTO``, questions as JSON on stdin, answers on stdout.

By ctypes, in a process of its own: two versions do not go into one.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

SET_GROUPS_LIST = 92
"""SSL_CTRL_SET_GROUPS_LIST of ssl.h."""

XN_FLAG_RFC2253 = 0x01110317
BIO_CTRL_INFO = 3

Pointer = ctypes.c_void_p


class Library:
    """The few functions that PostgreSQL calls with the strings of its settings."""

    def __init__(self, ssl: str, crypto: str) -> None:
        self.ssl, self.crypto = ctypes.CDLL(ssl), ctypes.CDLL(crypto)
        for name in ("TLS_server_method", "SSL_CTX_new", "SSL_CTX_get_ciphers"):
            getattr(self.ssl, name).restype = Pointer
        self.ssl.SSL_CTX_ctrl.restype = ctypes.c_long
        self.crypto.OPENSSL_sk_value.restype = Pointer
        for name in ("SSL_CIPHER_get_name", "SSL_CIPHER_standard_name"):
            getattr(self.ssl, name).restype = ctypes.c_char_p
        for name in ("OBJ_nid2obj", "BIO_s_mem", "BIO_new", "d2i_X509_NAME"):
            getattr(self.crypto, name).restype = Pointer
        self.crypto.OBJ_nid2sn.restype = ctypes.c_char_p
        self.crypto.BIO_ctrl.restype = ctypes.c_long

    def ciphers(self, text: str) -> list[tuple[str, str]] | None:
        """Return name and standard name of the suites below TLS 1.3 that a list selects; None if it is refused."""
        context = self._context()
        if self.ssl.SSL_CTX_set_cipher_list(context, text.encode()) != 1:
            return None
        stack = Pointer(self.ssl.SSL_CTX_get_ciphers(context))
        suites = [
            Pointer(self.crypto.OPENSSL_sk_value(stack, index)) for index in range(self.crypto.OPENSSL_sk_num(stack))
        ]
        found = [
            (self.ssl.SSL_CIPHER_get_name(suite).decode(), self.ssl.SSL_CIPHER_standard_name(suite).decode())
            for suite in suites
        ]
        return [suite for suite in found if not suite[0].startswith("TLS_")]

    def ciphersuites(self, text: str) -> bool:
        """Tell whether it takes a list of suites of TLS 1.3."""
        return bool(self.ssl.SSL_CTX_set_ciphersuites(self._context(), text.encode()) == 1)

    def groups(self, text: str) -> bool:
        """Tell whether it takes a list of groups."""
        return bool(self.ssl.SSL_CTX_ctrl(self._context(), SET_GROUPS_LIST, ctypes.c_long(0), text.encode()) == 1)

    def objects(self, most: str) -> dict[str, str]:
        """Return the short name of each object identifier that it knows, of its numbers below ``most``."""
        found, text = {}, ctypes.create_string_buffer(200)
        for number in range(1, int(most)):
            if self.crypto.OBJ_nid2sn(number):
                self.crypto.OBJ_obj2txt(text, len(text), Pointer(self.crypto.OBJ_nid2obj(number)), 1)
                # Two numbers may have one identifier.
                found[text.value.decode()] = self.crypto.OBJ_nid2sn(self.crypto.OBJ_txt2nid(text.value)).decode()
            else:
                self.crypto.ERR_clear_error()
        found.pop("", None)
        return found

    def name(self, der: str) -> str | None:
        """Return a name as PostgreSQL writes it (be-secure-openssl.c); None if the library does not read it."""
        content = bytes.fromhex(der)
        start = ctypes.c_char_p(content)
        name = self.crypto.d2i_X509_NAME(None, ctypes.byref(start), ctypes.c_long(len(content)))
        if not name:
            return None
        bio = Pointer(self.crypto.BIO_new(Pointer(self.crypto.BIO_s_mem())))
        self.crypto.X509_NAME_print_ex(bio, Pointer(name), 0, ctypes.c_ulong(XN_FLAG_RFC2253))
        written = ctypes.c_char_p()
        length = self.crypto.BIO_ctrl(bio, BIO_CTRL_INFO, ctypes.c_long(0), ctypes.byref(written))
        return ctypes.string_at(written, length).decode()

    def _context(self) -> Pointer:
        return Pointer(self.ssl.SSL_CTX_new(Pointer(self.ssl.TLS_server_method())))


def main(ssl: str, crypto: str) -> None:
    """Answer every question: by function, by text."""
    library = Library(ssl, crypto)
    questions: dict[str, list[str]] = json.load(sys.stdin)
    answers: dict[str, dict[str, Any]] = {
        name: {text: getattr(library, name)(text) for text in texts} for name, texts in questions.items()
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
