"""The people who come to the hospital: names of many origins."""

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

# (family, given names that are female, given names that are male): the origins stay together.
_FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("Müller", "Größer", "Jäger", "von der Höh"), ("Käthe", "Jörna", "Anneliese"), ("Jürgen", "Björn", "Götz")),
    (("Lefèvre", "D'Aubigné", "Béranger"), ("Zoé", "Hélène", "Maëlle"), ("François", "Noël", "Jérôme")),
    (("Muñoz", "García Ibáñez", "Peña"), ("Begoña", "Inés", "Concepción"), ("Íñigo", "José", "Ramón")),
    (("Åkesson", "Sørensen", "Björnsdóttir"), ("Åsa", "Søs", "Þóra"), ("Håkan", "Jørgen", "Ægir")),
    (("Wójcik", "Dąbrowski", "Łukasik"), ("Małgorzata", "Zofia", "Bożena"), ("Łukasz", "Stanisław", "Paweł")),
    (("Dvořák", "Němec", "Šťastný"), ("Růžena", "Božena", "Žofie"), ("Jiří", "Ondřej", "Zdeněk")),
    (("Yıldız", "Öztürk", "Çelik"), ("Ayşe", "Gülşen", "Çiğdem"), ("İbrahim", "Oğuz", "Şükrü")),  # noqa: RUF001 (Turkish)
    (("Παπαδόπουλος", "Νικολάου"), ("Ελένη", "Δέσποινα"), ("Γιώργος", "Αλέξανδρος")),
    (("Иванов", "Шевченко", "Щукина"), ("Наталья", "Юлия"), ("Алексей", "Фёдор")),
    (("Nguyễn", "Trần", "Phạm"), ("Thị Hồng", "Mỹ Linh"), ("Văn Đức", "Quốc Bảo")),
    (("Smith", "O'Brien", "Lloyd-Jones", "Macleod"), ("Siobhan", "Mary Ann", "Grace"), ("Owen", "Angus", "Peter")),
    (("Okonkwo", "Adébáyò", "Mwangi"), ("Ngozi", "Wanjiru"), ("Chukwuemeka", "Kamau")),
    (("Haddad", "Ben Youssef", "Rahmani"), ("Leïla", "Nour"), ("Karim", "Ziad")),
    (("Yamada", "Nakamura", "Ōno"), ("Hanako", "Yōko"), ("Tarō", "Kenji")),
)


@dataclass(frozen=True)
class Person:
    """One patient as the hospital's registration knows them. `birth_date` is YYYYMMDD, `sex` M, F or O."""

    patient_id: str
    family: str
    given: str
    middle: str
    prefix: str
    birth_date: str
    sex: str
    issuer: str

    @property
    def dicom_name(self) -> str:
        """PN, PS3.5 §6.2.1: family^given^middle^prefix^suffix."""
        return "^".join((self.family, self.given, self.middle, self.prefix)).rstrip("^")


def somebody(rng: Random, patient_id: str, issuer: str, today: date) -> Person:
    """A new person, from a newborn to 97 years old."""
    families, women, men = rng.choice(_FAMILIES)
    sex = rng.choices(("F", "M", "O"), weights=(50, 49, 1))[0]
    given = women if sex == "F" else men if sex == "M" else women + men
    born = today - timedelta(days=rng.randrange(97 * 365))
    return Person(
        patient_id=patient_id,
        family=rng.choice(families),
        given=rng.choice(given),
        middle=rng.choice(("", "", "", "A.", "Maria")),
        prefix=rng.choices(("", "Dr.", "Prof."), weights=(90, 8, 2))[0],
        birth_date=born.strftime("%Y%m%d"),
        sex=sex,
        issuer=issuer,
    )


def another_family(rng: Random, family: str) -> str:
    """A family name that is not this one."""
    return rng.choice([name for names, _, _ in _FAMILIES for name in names if name != family])
