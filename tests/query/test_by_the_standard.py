"""C-FIND is a plain reading of PS3.4 C.2.2.2 and C.4.1, over random objects, keys, levels and character sets."""

import re
import unicodedata
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.models import Project
from portal.query.identifiers import Root
from portal.query.options import QueryOptions
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.query import Match, keep, matches, new_uid, request

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE = dict(zip(LEVELS, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), strict=True))

NAMES = ("", "Doe^John", "doe^jane", "Doe", "Müller^Änne", "O[Neil^A", "Люкс^Иван", "Li=李")
NAMES += ("Yamada^Tarou=山田^太郎=やまだ^たろう",)
TEXTS = ("", "Thorax", "thorax", "Thorax nativ", "Schädel", "頭部", "100%_[a-z]", "x'y\"")
CODES = ("", "A1", "A10", "A_1", "a1", "B [2]")
DATES = ("", "20191231", "20200101", "20200229", "20210101")
TIMES = ("", "093000", "093059", "1015", "2359", "000000")
NUMBERS = ("", "1", "7", "70")
ATTRIBUTES: dict[str, dict[str, tuple[Any, ...]]] = {
    "PATIENT": {
        "PatientName": NAMES,
        "PatientSex": ("", "F", "M"),
        "PatientBirthDate": DATES,
    },
    "STUDY": {
        "StudyDate": DATES,
        "StudyTime": TIMES,
        "AccessionNumber": CODES,
        "StudyID": CODES,
        "StudyDescription": TEXTS,
        "ReferringPhysicianName": NAMES,
    },
    "SERIES": {
        "Modality": ("CT", "MR", "SR", ""),
        "SeriesNumber": NUMBERS,
        "SeriesDescription": TEXTS,
        "BodyPartExamined": ("", "HEAD", "CHEST"),
        "SeriesDate": DATES,
        "SeriesTime": TIMES,
    },
    "IMAGE": {"InstanceNumber": NUMBERS, "ContentDate": DATES, "ContentTime": TIMES, "Rows": (None, 7, 512)},
}
COUNTS = {
    "PATIENT": {
        "NumberOfPatientRelatedStudies": "STUDY",
        "NumberOfPatientRelatedSeries": "SERIES",
        "NumberOfPatientRelatedInstances": "IMAGE",
    },
    "STUDY": {"NumberOfStudyRelatedSeries": "SERIES", "NumberOfStudyRelatedInstances": "IMAGE"},
    "SERIES": {"NumberOfSeriesRelatedInstances": "IMAGE"},
    "IMAGE": {},
}
CODECS = {
    "": "ascii",
    "ISO_IR 100": "latin-1",
    "ISO_IR 144": "iso8859_5",
    "\\ISO 2022 IR 87": "iso2022_jp",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
}
ROUNDS, QUERIES = 40, 8


def character_set(dice: Random, texts: list[str]) -> dict[str, list[str]]:
    """A character set that has all letters of the texts."""
    fitting = []
    for term, codec in CODECS.items():
        try:
            "".join(texts).encode(codec)
        except UnicodeEncodeError:
            continue
        fitting.append(term)
    term = dice.choice(fitting)
    return {"SpecificCharacterSet": term.split("\\")} if term else {}


def texts_of(elements: dict[str, Any]) -> list[str]:
    listed = [value if isinstance(value, list) else [value] for value in elements.values()]
    return [value for values in listed for value in values if isinstance(value, str)]


# Objects


def objects_of(dice: Random) -> list[tuple[int, dict[str, Any]]]:
    """Up to seven objects: the place of each one's project, and its elements, the same for all of an entity."""
    patient_ids = [("P1", ""), ("P1", "NORTH"), ("P2", ""), ("", "")]
    entities: dict[tuple[Any, ...], dict[str, Any]] = {}
    uids: dict[tuple[Any, ...], str] = {}
    objects = []
    for _ in range(dice.randint(1, 7)):
        place, patient, study, series = dice.randrange(2), dice.randrange(4), dice.randrange(2), dice.randrange(2)
        patient_id, issuer = patient_ids[patient]
        # Without a Patient ID nothing tells that two studies are of one patient.
        paths = {
            "PATIENT": (patient, study) if not patient_id else (patient,),
            "STUDY": (place, patient, study),
            "SERIES": (place, patient, study, series),
        }
        elements = {"PatientID": patient_id, "IssuerOfPatientID": issuer, "SOPInstanceUID": new_uid()}
        elements["StudyInstanceUID"] = uids.setdefault(("study", patient, study), new_uid())
        elements["SeriesInstanceUID"] = uids.setdefault(("series", patient, study, series), new_uid())
        for level in LEVELS:
            drawn = {keyword: dice.choice(values) for keyword, values in ATTRIBUTES[level].items()}
            elements |= entities.setdefault((level, *paths[level]), drawn) if level in paths else drawn
        objects.append((place, elements))
    return objects


def visible(objects: list[tuple[int, dict[str, Any]]], order: list[int]) -> list[dict[str, Any]]:
    """The objects of the scope's projects; the first one that holds a study hides it in the others."""
    shown = []
    for place, elements in objects:
        holders = [each for each, other in objects if other["StudyInstanceUID"] == elements["StudyInstanceUID"]]
        if place in order and place == min((each for each in holders if each in order), key=order.index):
            shown.append(elements)
    return shown


def entity(elements: dict[str, Any], level: str) -> tuple[Any, ...]:
    if level == "PATIENT":
        patient = elements["PatientID"], elements["IssuerOfPatientID"]
        return patient if elements["PatientID"] else (*patient, elements["StudyInstanceUID"])
    return (elements[UNIQUE[level]],)


# Keys


def key_for(dice: Random, keyword: str, value: Any) -> Any:
    """A key that asks for a value, or for something near it, in one of the kinds of matching."""
    vr, text = dictionary_VR(tag_for_keyword(keyword) or 0), "" if value is None else str(value)
    if not text or dice.random() < 0.15:
        return None if vr == "US" else dice.choice(["", "*"] if vr not in ("UI", "DA", "TM", "IS") else [""])
    match vr:
        case "UI":
            return dice.choice([text, [text, "1.2.3"], ["1.2.3", text, f"{text}.1"], f"{text}.1"])
        case "US":
            return dice.choice([value, value + 1])
        case "IS":
            return dice.choice([text, f"0{text}", f"{text}1"])
        case "DA" | "TM":
            others = [each for each in (DATES if vr == "DA" else TIMES) if each]
            low, high = sorted((text, dice.choice(others)))
            if vr == "TM" and dice.random() < 0.5:  # without seconds, as the times of most requests
                text, low, high = text[:4], low[:4], high[:4]
            return dice.choice([text, dice.choice(others), f"{low}-{high}", f"{text}-", f"-{text}"])
        case "PN":
            text = dice.choice([text, dice.choice(text.split("="))])
            text = dice.choice([text, text.swapcase()])
    begin, end = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    wild = [f"{text[:end]}*", f"*{text[begin:]}", f"*{text[begin:end]}*", f"{text[:begin]}?{text[begin + 1 :]}"]
    if vr == "PN":
        first, _, second = value.partition("=")
        wild += [f"{text}^*", f"={second[:2]}*", f"{first[:2]}*=*", f"*={second}"]
        # pydicom drops a delimiter at the end of a name.
        wild = [each for each in wild if each.strip("^= ") and each.replace("*", "") and not each.endswith("=")]
    return dice.choice([text, f"{text}x", *wild])


def query_of(dice: Random, shown: list[dict[str, Any]], level: str, root: Root) -> dict[str, Any]:
    model = dice.choice(shown)
    keys: dict[str, Any] = {}
    for above in LEVELS[LEVELS.index("PATIENT" if root == "patient" else "STUDY") : LEVELS.index(level)]:
        keys[UNIQUE[above]] = model[UNIQUE[above]]
    keys.setdefault(UNIQUE[level], dice.choice(["", key_for(dice, UNIQUE[level], model[UNIQUE[level]])]))
    keys |= {"PatientID": keys.get("PatientID", ""), "IssuerOfPatientID": ""}
    for each in LEVELS[: LEVELS.index(level) + 1]:
        keys |= dict.fromkeys(COUNTS[each], "")
        for keyword in ATTRIBUTES[each]:
            if dice.random() < 0.7:
                keys[keyword] = key_for(dice, keyword, model[keyword]) if dice.random() < 0.2 else ""
    if level != "PATIENT":
        some = dice.choice(["", "", "CT", ["CT", "MR"], "?R", "*T"])
        keys["ModalitiesInStudy"] = some
    if dice.random() < 0.2:
        keys[dice.choice(["InstitutionName", "PatientAge"])] = dice.choice(["", "North"])
    if level in ("PATIENT", "STUDY") and dice.random() < 0.2:
        keys[dice.choice(["BodyPartExamined", "SeriesDescription", "ContentDate"])] = dice.choice(["", "20200101"])
    return {
        keyword: None if dictionary_VR(keyword) == "US" and value == "" else value for keyword, value in keys.items()
    }


def negotiated(
    dice: Random, keys: dict[str, Any], shown: list[dict[str, Any]], level: str, options: QueryOptions
) -> dict[str, Any]:
    """The same keys with some that are only used after extended negotiation."""
    model = dice.choice(shown)
    if options.relational:
        for above in LEVELS[: LEVELS.index(level)]:
            if dice.random() < 0.5 and UNIQUE[above] in keys:
                keys[UNIQUE[above]] = ""
        for keyword in ("SeriesDescription", "Modality", "InstanceNumber", "Rows"):
            if dice.random() < 0.3:
                key = model[keyword]
                keys[keyword] = key if key is None or dice.random() < 0.7 else type(key)("7")
    if options.date_time and "StudyDate" in keys and "StudyTime" in keys:
        first, last = sorted(dice.choice(DATES[1:]) for _ in range(2))
        keys["StudyDate"] = dice.choice([f"{first}-{last}", f"{first}-", f"-{last}"])
        keys["StudyTime"] = dice.choice(["0930-1200", "1015-", "-0930", "2359-0000"])
    if options.empty_values and dice.random() < 0.5:
        keys[dice.choice(["StudyDescription", "AccessionNumber", "PatientSex"])] = '""'
    if options.fuzzy_names and dice.random() < 0.5:
        keys["PatientName"] = dice.choice(["muller", "anne Muller", "john doe", "d?e", "tarou", "太郎", "neil"])
    return keys


# Matching


def likes(pattern: str, text: str) -> bool:
    parts = ((".*" if sign == "*" else "." if sign == "?" else re.escape(sign)) for sign in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def name_matches(key: str, name: str) -> bool:
    groups = [each.casefold().rstrip("^") for each in name.split("=")]
    wanted = [each.rstrip("^") for each in key.casefold().split("=")]

    def fits(pattern: str, group: str) -> bool:
        return likes(pattern, group) or (pattern.endswith("^*") and fits(pattern.removesuffix("^*"), group))

    if len(wanted) == 1:
        return any(fits(wanted[0], group) for group in groups if group or group is groups[0])
    groups += [""] * 3
    return all(bool(groups[place]) and fits(pattern, groups[place]) for place, pattern in enumerate(wanted) if pattern)


def seconds(time: str, filler: str = "0") -> str:
    return time + filler * (6 - len(time))


def value_matches(vr: str, key: str, value: str) -> bool:
    low, dash, high = key.partition("-")
    match vr:
        case "DA" if dash:
            return bool(value) and (not low or value >= low) and (not high or value <= high)
        case "TM" if dash:
            within = (not low or seconds(value) >= seconds(low)) and (not high or value <= seconds(high, "9"))
            return bool(value) and within
        case "TM":
            return bool(value) and seconds(value) == seconds(key)
        case "IS" | "US":
            return bool(value) and int(value) == int(key)
        case "PN":
            return name_matches(key, value)
        case "UI" | "DA":
            return key == value
    return likes(key, value)


def words_of(name: str) -> list[str]:
    """PS3.4 leaves fuzzy matching to us: words without accents, as docs/decisions/0123 says."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    return [word for word in re.split(r"[\s^=.,'-]+", plain.casefold()) if word]


def is_met(
    keyword: str, key: Any, elements: dict[str, Any], shown: list[dict[str, Any]], options: QueryOptions
) -> bool:
    if key in ("", "*", None):
        return True
    vr = dictionary_VR(tag_for_keyword(keyword) or 0)
    wanted = key if isinstance(key, list) else [str(key)]
    if keyword == "ModalitiesInStudy":
        of_study = [each for each in shown if each["StudyInstanceUID"] == elements["StudyInstanceUID"]]
        held = [any(likes(each, other["Modality"]) for other in of_study) for each in wanted]
        return all(held) if options.multiple_values else any(held)
    value = "" if elements[keyword] is None else str(elements[keyword])
    if options.empty_values and wanted == ['""']:
        return not value
    asked = words_of(wanted[0]) if vr == "PN" and options.fuzzy_names else []
    if asked and all(any(likes(word, own) for own in words_of(value)) for word in asked):
        return True
    return any(value_matches(vr, each, value) for each in wanted)


def moments_met(keys: dict[str, Any], elements: dict[str, Any]) -> set[str] | None:
    """The keys of combined ranges of date and time (PS3.4 C.2.2.2.5) that are met; None where one is not."""
    used: set[str] = set()
    for of in ("Study", "Series", "Content"):
        date, time = keys.get(f"{of}Date") or "", keys.get(f"{of}Time") or ""
        if "-" in date and "-" in time:
            (first, last), (begin, end) = date.split("-"), time.split("-")
            day, at = elements[f"{of}Date"], elements[f"{of}Time"]
            is_late = not first or (day, seconds(at)) >= (first, seconds(begin))
            is_early = not last or (day, seconds(at)) <= (last, seconds(end, "9") if end else "9")
            if not (day and at and is_late and is_early):
                return None
            used |= {f"{of}Date", f"{of}Time"}
    return used


def answers_to(
    keys: dict[str, Any], level: str, shown: list[dict[str, Any]], options: QueryOptions
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The entities of a level with an object that meets all keys, by what tells one from another."""
    expected = {}
    listed = dict(listed_keys(keys, level, relational=options.relational))
    for each in shown:
        combined = moments_met(dict(listed_keys(keys, level)), each) if options.date_time else set()
        others = {keyword: key for keyword, key in listed.items() if keyword not in (combined or ())}
        if combined is not None and all(is_met(*pair, each, shown, options) for pair in others.items()):
            expected[entity(each, level)] = each
    return expected


def listed_keys(keys: dict[str, Any], level: str, *, relational: bool = False) -> Iterator[tuple[str, Any]]:
    """The keys that are used for matching at a level; in a relational query also those of the levels below."""
    for keyword, key in keys.items():
        below = () if relational else LEVELS[LEVELS.index(level) + 1 :]
        is_listed = keyword in ("PatientID", "IssuerOfPatientID", "ModalitiesInStudy", *UNIQUE.values())
        is_listed |= any(keyword in ATTRIBUTES[each] for each in LEVELS)
        if is_listed and not any(keyword in ATTRIBUTES[each] or keyword == UNIQUE[each] for each in below):
            yield keyword, key


def check(
    keys: dict[str, Any], level: str, shown: list[dict[str, Any]], answers: list[Match], options: QueryOptions
) -> None:
    listed = list(listed_keys(keys, level))
    expected = answers_to(keys, level, shown, options)
    wanted = {keyword: key for keyword, key in listed if key not in ("", "*", None)}
    found = {}
    for match in answers:
        answer = {element.keyword: str(element.value) if element.value else "" for element in match.identifier}
        identity = (answer["PatientID"], answer["IssuerOfPatientID"])
        if level == "PATIENT" and not identity[0]:  # nothing in the answer tells which study it is of
            candidates = [each for each in expected if each[0] == "" and each not in found]
            assert candidates, wanted
            found[candidates[0]] = answer
            continue
        found[identity if level == "PATIENT" else (answer[UNIQUE[level]],)] = answer
        source = expected.get(identity if level == "PATIENT" else (answer[UNIQUE[level]],))
        assert source is not None, (wanted, {keyword: answer[keyword] for keyword in wanted if keyword in answer})
        for keyword, _ in listed:
            if keyword != "ModalitiesInStudy":
                assert answer[keyword] == str(source[keyword] or ""), (keyword, wanted)
        for counted, of in ((each, of) for each in LEVELS[: LEVELS.index(level) + 1] for of in COUNTS[each].items()):
            same = [each for each in shown if entity(each, counted) == entity(source, counted)]
            assert int(answer[of[0]]) == len({entity(each, of[1]) for each in same}), (of[0], wanted)
    assert len(answers) == len(found)
    assert found.keys() == expected.keys(), wanted
    used = {
        "QueryRetrieveLevel",
        *(keyword for keyword, _ in listed_keys(keys, level, relational=options.relational)),
        *(name for each in COUNTS.values() for name in each),
    }
    has_others = not used >= keys.keys()
    assert {match.unmatched_keys for match in answers} <= {has_others}


# A seed is no simpler for being smaller, so nothing is gained by shrinking it.
@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_any_query_of_any_objects_is_answered_as_the_standard_says(site: Settings, admin: Actor, seed: int) -> None:
    dice = Random(seed)
    projects = [a_project(new_uid(), actor=admin) for _ in range(2)]
    objects = objects_of(dice)
    for place, elements in objects:
        store(projects[place], elements, dice)
    order = dice.choice([[0], [1], [0, 1], [1, 0]])
    scope = Scope(projects=tuple(projects[place].id for place in order), stores=frozenset())
    shown = visible(objects, order)
    for _ in range(QUERIES if shown else 0):
        root: Root = dice.choice(["patient", "study"])
        level = dice.choice(LEVELS if root == "patient" else LEVELS[1:])
        options = QueryOptions(*(dice.random() < 0.3 for _ in range(5)))  # the negotiated ones come first
        keys = negotiated(dice, query_of(dice, shown, level, root), shown, level, options)
        if root == "patient" and level != "PATIENT" and not options.relational and not keys["PatientID"]:
            continue  # without one value of it the request is refused
        ds = request(level, **keys, **character_set(dice, texts_of(keys)))
        found = matches(ds, scope, root, implicit=dice.random() < 0.5, options=options)
        check(keys, level, shown, found, options)


def store(project: Project, elements: dict[str, Any], dice: Random) -> None:
    declared = character_set(dice, texts_of(elements))
    keep(project, elements["StudyInstanceUID"], elements["SeriesInstanceUID"], **declared, **elements)
