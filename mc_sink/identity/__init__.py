"""Polars expressions that normalise and hash what identifies a person, as the receivers of audiences document it.

Every function returns an expression: `frame.with_columns(email_sha256=identity.email("email"))`. Normalising and
hashing run in the engine; phone numbers are read by Google's rules in the library phonenumbers. A null stays null. A
value that cannot identify a person (empty, or no address) becomes null, or an error: never the hash of an empty text.
`docs/identity.md` names the page of each rule.
"""

from mc_sink.identity.birth import date_of_birth, gender
from mc_sink.identity.expressions import Receiver as Receiver  # for the annotations of callers
from mc_sink.identity.expressions import sha256
from mc_sink.identity.persons import email, first_name, last_name, phone
from mc_sink.identity.places import city, country, postal_code, state, street

__all__ = [
    "city",
    "country",
    "date_of_birth",
    "email",
    "first_name",
    "gender",
    "last_name",
    "phone",
    "postal_code",
    "sha256",
    "state",
    "street",
]
