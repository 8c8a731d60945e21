"""Names as a register has them: few very frequent ones, a long tail, several scripts, and how they are mistyped."""

from itertools import accumulate, product
from random import Random

_FAMILIES = (
    "Smith Jones Müller Garcia Nguyễn Kowalski Rossi Martin Silva Jensen Johansson Novák Horváth Dubois O'Brien "
    "van_Dijk De_Souza Schmidt Fernández García-Lopez Yildiz Åkesson Łukasik Çelik Petrović Kováč Öztürk Hansen "
    "Meyer Weber Fischer Wagner Becker Schulz Hoffmann Koch Bauer Richter Klein Wolf Schröder Neumann Schwarz Braun "
    "Brown Davies Evans Thomas Johnson Roberts Walker Wright Robinson Thompson White Hughes Edwards Green Hall Wood "
    "Kim Lee Park Wang Li Zhang Chen Yamada Sato Tanaka Singh Kumar Patel Khan Ali Hussein Cohen Levi Ivanov Popov"
)
_STEMS = ("Al", "Bern", "Cors", "Dun", "Eber", "Frid", "Gram", "Holt", "Iser", "Kall", "Lind", "Mor", "Nord", "Ost",
          "Pell", "Ros", "Stein", "Tor", "Ulr", "Vest", "Wern", "Zell")  # fmt: skip
_MIDDLES = ("a", "en", "er", "i", "o", "un", "el", "is", "ar", "en")
_ENDS = ("berg", "mann", "sen", "ski", "dahl", "feld", "ez", "ini", "ova", "ley", "stad", "quist")
_GIVEN = {
    "F": "Maria Anna Sophie Emma Laura Julia Sarah Ingrid Zoë Chloé Fatma Aylin Hanna Lena Katarzyna Elif Mei Yuki "
         "Linh Priya Amélie Noémie Birgit Ursula Petra Sabine Karin Heike Olga Irina Helen Susan Linda Carol Diane",
    "M": "John Peter Paul Michael José Jürgen Søren André Thomas Daniel Mehmet Ahmed Piotr Luca Marco Jan Lars Björn "
         "Hiroshi Wei Minh Raj David James Robert William Georg Klaus Dieter Uwe Ralf Igor Pavel Miloš Kevin Brian",
}  # fmt: skip
_SCRIPTS = {"Yamada": "山田", "Sato": "佐藤", "Tanaka": "田中", "Kim": "김", "Park": "박", "Wang": "王", "Zhang": "张"}


def _ranked(number: int) -> list[float]:
    """Cumulative weights by rank: the first is the most frequent."""
    return list(accumulate(1 / (rank + 12) for rank in range(number)))


_FAMILY = [each.replace("_", " ") for each in _FAMILIES.split()] + [
    "".join(parts) for parts in product(_STEMS, dict.fromkeys(_MIDDLES), _ENDS)
]
_FAMILY_WEIGHTS = _ranked(len(_FAMILY))
_GIVEN_NAMES = {sex: names.split() for sex, names in _GIVEN.items()}
_GIVEN_WEIGHTS = {sex: _ranked(len(names)) for sex, names in _GIVEN_NAMES.items()}


def name(random: Random, sex: str) -> str:
    """A DICOM person name."""
    family = random.choices(_FAMILY, cum_weights=_FAMILY_WEIGHTS)[0]
    given, second = random.choices(_GIVEN_NAMES[sex], cum_weights=_GIVEN_WEIGHTS[sex], k=2)
    middle = f"^{second}" if random.random() < 0.2 and second != given else ""
    ideographic = f"={_SCRIPTS[family]}^{given}" if family in _SCRIPTS and random.random() < 0.5 else ""
    return f"{family}^{given}{middle}{ideographic}"


def mistyped(random: Random, said: str) -> str:
    """The name as somebody typed it at the console."""
    parts = said.partition("=")[0].split("^")
    way = random.randrange(4)
    if way == 0:
        return "^".join(reversed(parts[:2]))
    if way == 1:
        return parts[0].upper()
    place = random.randrange(len(parts[0]))
    if way == 2:
        return "^".join([parts[0][:place] + parts[0][place + 1 :], *parts[1:]])
    return "^".join([parts[0][:place] + random.choice("aeionrst") + parts[0][place:], *parts[1:]])
