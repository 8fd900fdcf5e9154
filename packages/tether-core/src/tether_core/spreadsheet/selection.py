"""
Selection: columns whose words say which rows are to be collected.

A list can hold more than debits. A column says that a row is a credit (S/H, D/C, Af/Bij), is paid in another way
(Zahlungsart), is paid or cancelled already (Status), or marks some rows with a word whose meaning only its sender knows. Reading such
a list as it stands debits people who owe nothing. So the column is a question, and the answer is the words whose rows are
collected; a row with any other word is refused with `row_not_selected`.

| question | asked where |
| --- | --- |
| `direction_column` | a word for a credit occurs, or the header announces directions and two words occur; among many texts, a cell begins with such a word |
| `payment_method_column` | a way of payment other than direct debit occurs |
| `selection_column` | a word such as "paid" or "cancelled" occurs, a column such as "active" says "no", or two to four words repeat and nothing says what they mean |

>>> counts = {"S": 12, "H": 3}
>>> question = ask("S/H", counts=counts, answer="collect.S/H", label="D", known_field=False)
>>> question.code, question.choices
('direction_column', ('S', 'H'))
>>> ask("Anrede", counts={"Herr": 5, "Frau": 7}, answer="collect.Anrede", label="E", known_field=False) is None
True
>>> ask("Kz", counts={"A": 5, "": 7}, answer="collect.Kz", label="E", known_field=False).code
'selection_column'
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tether_core.spreadsheet.cells import excerpt
from tether_core.spreadsheet.header_words import is_iban, plain
from tether_core.spreadsheet.person_names import clean
from tether_core.spreadsheet.plan import Question

__all__ = [
    "EVERY_WORD",
    "WORDS_MAX",
    "ask",
    "ask_of_credits",
    "credits_in",
    "may_have_left",
    "not_due_in",
    "word_key",
]

# The answer that takes every row of a column, whatever it says there.
EVERY_WORD: Final = "*"
# A column of more words than this says something about each row and does not sort rows into kinds.
WORDS_MAX: Final = 12
_UNKNOWN_MAX: Final = 4
_WORD_LENGTH_MAX: Final = 40


def word_key(cell: str) -> str:
    """
    Reduce a word to what is compared: case and blanks are ignored.

    >>> word_key("  Gut\u00a0 Schrift "), word_key("H.")
    ('gut schrift', 'h.')
    """
    return " ".join(clean(cell).casefold().split())


def _plain(words: str) -> frozenset[str]:
    return frozenset(
        key for word in words.split("|") for key in (plain(word), plain(word, digraphs=True)) if key
    )


# Debit first, credit second, as applying programs of seven languages write them.
_PAIRS: Final = tuple(
    (_plain(debit), _plain(credit))
    for debit, credit in (
        pair.split(":")
        for pair in (
            "s:h|soll:haben|d:c|dr:cr|dt:ct|debit:credit|dbit:cdit|dbit:crdt|debet:credit|d:h|debe:haber|d:a|dare:avere"
            "|wn:ma|winien:ma|lastschrift:gutschrift|debit:gutschrift|belastung:gutschrift|cargo:abono|addebito:accredito"
            "|obciążenie:uznanie|af:bij|rechnung:gutschrift|re:gu|inv:cn|fa:av"
        ).split("|")
    )
)
_CREDITS: Final = _plain(
    "haben|gutschrift|gutschriften|guthaben|erstattung|rückerstattung|rückzahlung|auszahlung|credit|credits|crdt|cdit"
    "|credit note|creditnote|credit memo|refund|payout|bij|crédit|avoir|remboursement|note de crédit|creditnota|terugbetaling"
    "|haber|abono|devolución|reembolso|nota de crédito|avere|accredito|rimborso|nota di credito|nota credito|uznanie|zwrot"
    "|korekta|nota kredytowa|stornorechnung|rechnungskorrektur"
)
# These are credits within several words, too: "Gutschr. Überweisung", "Refund invoice 7". Others occur in names of banks and cards.
_CREDIT_PARTS: Final = _plain(
    "gutschrift|gutschr|guthaben|erstattung|rückerstattung|rückzahlung|auszahlung|refund|payout|remboursement|terugbetaling"
    "|creditnota|devolución|reembolso|rimborso|accredito|zwrot|stornorechnung|rechnungskorrektur|korekta"
)
# Short words are credits only where the header announces directions.
_SHORT_CREDITS: Final = _plain("h|c|cr|ct|a|ma|gu|gs|cn|av|k|ha|cre|cred")
_DIRECTION_HEADERS: Final = _plain(
    "s/h|sh|soll/haben|shkz|sh kz|s/h kz|s/h kennzeichen|soll haben kennzeichen|d/c|dc|debit/credit|credit/debit|dr/cr|d/h|dh"
    "|debe/haber|dare/avere|d/a|wn/ma|winien/ma|af bij|af/bij|bij af|sens|direction|richtung|vorzeichen|sign|buchungsart"
    "|buchungsschlüssel|buchungsschl|bschl|posting key|pstky|credit debit indicator|cdtdbtind|debit credit indicator|débit/crédit|débit crédit|sens opération|signo|segno|znak"
)
_METHOD_HEADERS: Final = _plain(
    "Zahlungsart|Zahlart|Zahlweise|Zahlungsweise|Zahlungsmethode|Zahlungsmittel|Zahlungsform|payment method|payment type"
    "|method of payment|paymethod|pay by|mode de paiement|moyen de paiement|mode de règlement|moyen de règlement|forma de pago"
    "|método de pago|medio de pago|metodo di pagamento|modalità di pagamento|modalità pagamento|tipo pagamento|betaalwijze"
    "|betaalmethode|betaalwijze klant|forma płatności|metoda płatności|sposób płatności|sposób zapłaty"
)
_DIRECT_DEBIT: Final = _plain(
    "lastschrift|sepa|sepa lastschrift|sepa ls|ls|sepa basislastschrift|basislastschrift|bankeinzug|einzug|abbuchung|sdd"
    "|einzugsermächtigung|sepa mandat|direct debit|sepa direct debit|debit|dd|prélèvement|prélèvement sepa|prélèvement automatique"
    "|incasso|automatische incasso|sepa incasso|machtiging|domiciliëring|domiciliación|domiciliado|recibo domiciliado|adeudo"
    "|recibo|addebito|addebito diretto|addebito sepa|sdd core|rid|polecenie zapłaty|core"
)
# Payment methods other than direct debit, under any header.
_OTHER_METHODS: Final = _plain(
    "überweisung|überweiser|banküberweisung|vorkasse|bar|barzahlung|barzahler|dauerauftrag|paypal|kreditkarte|ec|ec karte"
    "|selbstzahler|nachnahme|scheck|transfer|bank transfer|wire|wire transfer|credit transfer|cash|cheque|check|credit card|card"
    "|standing order|virement|virement bancaire|espèces|chèque|carte|carte bancaire|overboeking|overschrijving|contant|creditcard"
    "|ideal|transferencia|transferencia bancaria|efectivo|tarjeta|bonifico|bonifico bancario|contanti|assegno|carta|bollettino"
    "|przelew|gotówka|karta|klarna|stripe|sofort|giropay|twint"
)
_NOT_DUE: Final = _plain(
    "bezahlt|bereits bezahlt|beglichen|erledigt|storniert|storno|gekündigt|ausgetreten|inaktiv|gesperrt|ruhend|verstorben|gelöscht"
    "|nicht einziehen|kein einzug|ausgesetzt|zurückgestellt|widerrufen|paid|settled|cancelled|canceled|void|voided|terminated"
    "|inactive|blocked|suspended|on hold|hold|closed|deleted|deceased|do not collect|revoked|refunded|payé|payée|réglé|réglée|soldé"
    "|annulé|annulée|résilié|résiliée|inactif|bloqué|suspendu|décédé|radié|betaald|voldaan|geannuleerd|opgezegd|inactief"
    "|geblokkeerd|overleden|vervallen|ingetrokken|pagado|pagada|cobrado|cobrada|anulado|anulada|cancelado|cancelada|baja|inactivo"
    "|bloqueado|fallecido|pagato|pagata|saldato|annullato|annullata|disdetto|disdetta|inattivo|bloccato|sospeso|deceduto"
    "|zapłacone|zapłacono|opłacone|opłacona|anulowane|anulowano|nieaktywny|zablokowany|zawieszony|zmarły|rozwiązana|wypowiedziana"
)
# Headers under which any mark but a "no" means that the row is not due.
_NOT_DUE_HEADERS: Final = _plain(
    "bezahlt|schon bezahlt|bereits bezahlt|gezahlt|bereits gezahlt|schon gezahlt|bezahlter betrag|gezahlter betrag|zahlungseingang|eingegangen|bezahlt am|beglichen|storniert|storno|gekündigt|gekündigt am|gekündigt zum|kündigung|kündigung zum|kündigungsdatum"
    "|ausgetreten|austritt|austritt am|austrittsdatum|gesperrt|mahnsperre|einzugssperre|lastschriftsperre|sperre|verstorben|inaktiv"
    "|nicht einziehen|ruhend|widerrufen|widerrufen am|paid|already paid|amount paid|paid amount|amount received|payment received|date paid|paid on|paid at|payment date|cancelled|canceled|cancelled on"
    "|terminated|termination date|end date|left|left on|blocked|do not collect|suspended|inactive|deceased|revoked|payé|payée|déjà payé|montant payé|montant réglé|payé le"
    "|réglé|réglé le|annulé|résilié|résilié le|date de résiliation|date de sortie|sortie|bloqué|betaald|reeds betaald|al betaald|betaald bedrag|betaald op|geannuleerd"
    "|opgezegd|opgezegd per|uitgeschreven|einddatum|geblokkeerd|overleden|pagado|ya pagado|importe pagado|pagado el|fecha de pago|anulado|baja|fecha baja"
    "|fecha de baja|bloqueado|pagato|già pagato|importo pagato|pagato il|annullato|disdetto|disdetta|data disdetta|bloccato|zapłacone|zapłacono|zapłacona kwota|wpłacono|opłacone|anulowane"
    "|wypowiedzenie|data wypowiedzenia|zablokowany"
    # The mandate has ended.
    "|mandat widerrufen|mandat widerrufen am|mandatswiderruf|widerruf|widerruf am|mandat gekündigt|mandat gekündigt am|mandat erloschen"
    "|mandate revoked|mandate revoked on|revoked on|mandate cancelled|mandate cancelled on|mandate canceled|mandate ended|mandate end date"
    "|mandat révoqué|mandat révoqué le|révoqué|révoqué le|date de révocation|mandaat ingetrokken|ingetrokken|ingetrokken op"
    "|mandato revocado|revocado|fecha de revocación|mandato revocato|revocato|revocato il|data revoca|mandat odwołany|odwołany"
    # Money that the debtor has ahead.
    "|gutschrift|gutschriften|guthaben|anzahlung|teilzahlung|vorauszahlung|credit balance|credit note|credit notes|deposit paid|part payment|prepayment"
    "|avoir|acompte|tegoed|aanbetaling|abono|anticipo|acconto|zaliczka|nadpłata"
)
# Headers under which a "no", or a blank beside marks, means that the row is not due.
_DUE_HEADERS: Final = _plain(
    "lastschrift|sepa|sepa lastschrift|bankeinzug|einzug|einziehen|abbuchen|abbuchung|einzugsermächtigung|mandat erteilt|mandat vorhanden"
    "|aktiv|fällig|offen|direct debit|collect|debit|to collect|active|due|enabled|valid|mandate|consent|prélèvement|prélever|actif|active"
    "|à prélever|valide|incasso|incasseren|automatische incasso|actief|geldig|domiciliado|domiciliación|domiciliar|cobrar|activo|addebito"
    "|addebitare|da incassare|attivo|valido|polecenie zapłaty|obciążyć|pobrać|aktywny|aktywna"
)
# Numbers are codes and no counts under these words.
_CODE_WORDS: Final = _plain(
    "kz|kennz|kennzeichen|code|kode|codice|código|status|statut|stato|estado|stan|état|typ|type|tipo|art|soort|flag|schlüssel|key|merkmal"
)
_NO: Final = _plain("nein|no|n|false|0|non|nee|nie|falsch|faux|offen|open|f|keine|kein|aucun|geen|brak")
_YES: Final = _plain("ja|j|yes|y|true|1|x|oui|o|vrai|sí|si|s|vero|tak|t|ok|wahr")
# Columns that classify people and do not affect what they owe.
_HARMLESS_HEADERS: Final = _plain(
    "anrede|titel|geschlecht|sprache|familienstand|salutation|title|gender|sex|language|lang|civilité|titre|sexe|langue|genre|aanhef"
    "|geslacht|taal|titulatuur|tratamiento|título|sexo|idioma|titolo|sesso|lingua|płeć|język|tytuł grzecznościowy|zwrot grzecznościowy"
    "|abteilung|sparte|gruppe|klasse|mannschaft|team|kurs|filiale|standort|kategorie|tarif|beitragsart|beitragsgruppe|beitragsklasse"
    "|stimmgruppe|region|bezirk|objekt|artikel|produkt|department|group|class|branch|category|course|product|site|section|groupe|classe"
    "|service|catégorie|produit|afdeling|groep|klas|filiaal|categorie|departamento|grupo|clase|sección|categoría|reparto|gruppo|corso"
    "|categoria|prodotto|dział|grupa|klasa|kategoria|oddział|produkt|adresszusatz|bundesland|rechtsform|legal form|kundengruppe"
    "|mitgliedsart|mitgliedschaft|membership|mitgliedstyp"
)
_HARMLESS_WORDS: Final = _plain(
    "herr|frau|divers|familie|firma|eheleute|herrn|dr|prof|prof dr|mr|mrs|ms|miss|mx|m|w|f|d|v|x|h|male|female|männlich|weiblich|mann"
    "|monsieur|madame|mademoiselle|mme|mlle|dhr|mevr|mevrouw|de heer|heer|man|vrouw|señor|señora|sr|sra|srta|don|doña|signor|signora"
    "|sig|sig ra|signore|pan|pani|homme|femme|hombre|mujer|uomo|donna|masculin|féminin|kobieta|mężczyzna|k|de|en|fr|nl|es|it|pl|deutsch"
    "|english|français|german|french|gmbh|ag|kg|e k|ug|gbr|frst|rcur|fnal|ooff|first|recurring|folge|erst|einmal|core|b2b|cor1|eur|euro"
)
_HARMLESS_LETTERS: Final = _plain("m|w|f|d|v|x|h|k")
_PARTS: Final = re.compile(r"[^\W\d_]+")
_NOTES: Final = re.compile(r"[(\[{]([^)\]}]*)")
_FLAG: Final = re.compile(r"[01x*+-]", re.IGNORECASE)


# The words of `_CREDIT_PARTS` as they are written, for a quick look at a whole column; none is part of another word for something else.
_CREDIT_STEMS: Final = tuple(
    "gutschr|guthaben|erstattung|rückzahlung|auszahlung|refund|payout|remboursement|terugbetaling|creditnota|devoluci|reembolso"
    "|rimborso|accredito|zwrot|storn|rechnungskorrektur|korekta".split("|")
)


def credits_in(column: Sequence[str]) -> Iterator[int]:
    """
    Find the cells of a column that begin with a word for a credit.

    Args:
        column: Its cells; any texts.

    Yields:
        Their positions.

    >>> list(credits_in(["Beitrag Mai", "Gutschrift 17", "Beitrag nach Gutschrift", "GUTSCHR. BEITRAG"]))
    [1, 3]
    """
    together = "\n".join(column).casefold()
    if not any(stem in together for stem in _CREDIT_STEMS):
        return
    for position, cell in enumerate(column):
        first = _PARTS.search(cell)
        if first is not None and plain(first[0]) in _CREDIT_PARTS:
            yield position


def ask_of_credits(*, rows: int, first_row: int, example: str, answer: str, label: str) -> Question:
    """
    Make the question about a column of many texts, some of which are words for a credit.

    Args:
        rows: That have such a text.
        first_row: The number of the first one.
        example: Its text.
        answer: The answer's name, "collect." and the column.
        label: The column for display.

    Returns:
        The question; its one choice collects every row.
    """
    return Question(
        "direction_column",
        f"Are all rows to be collected? Column {label} says that rows are credits, and credits cannot be collected: {rows:,} "
        f"{'row' if rows == 1 else 'rows'}, such as “{excerpt(example)}” in row {first_row:,}. Answer with "
        f'"{EVERY_WORD}" for every row, or delete the rows that are credits and send the file again.',
        answer,
        (EVERY_WORD,),
    )


def ask(
    header: str, *, counts: Mapping[str, int], answer: str, label: str, known_field: bool
) -> Question | None:
    """
    Make the question: which words of a column mean that a row is to be collected?

    Args:
        header: Of the column.
        counts: Every word of the column to the number of its rows; blank cells under an empty word.
        answer: The answer's name, "collect." and the column.
        label: The column for display, e.g. "D (“S/H”)".
        known_field: Whether the column is used as a field of the debtor, so that words without a known meaning are its
            contents.

    Returns:
        The question; `None` for a column that sorts no rows.
    """
    # A sign is no letter, and a column of plus and minus says as much as one of debit and credit.
    words = {plain(text) or word_key(text): text for text in counts if text}
    if not words or len(words) > WORDS_MAX or max(map(len, words.values())) > _WORD_LENGTH_MAX:
        return None
    if any(map(is_iban, counts)):
        return None
    several = len(counts) > 1
    titles = {plain(header), plain(header, digraphs=True)}
    found = _sorts_rows(words, titles=titles, several=several)
    if found is None and not known_field and _unknown(words, counts=counts, titles=titles):
        found = "selection_column", "holds a few words that repeat, and nothing says what they mean"
    if found is None:
        return None
    code, what = found
    return _question(code, counts, what=what, answer=answer, label=label)


def _sorts_rows(words: Mapping[str, str], *, titles: set[str], several: bool) -> tuple[str, str] | None:
    """Recognise a column that selects rows by known words: the question's code and what the column does."""
    if _directions(words, titles=titles, several=several):
        return "direction_column", (
            "says which rows are debits and which are credits, and credits cannot be collected"
            if several
            else "says that rows are credits, and credits cannot be collected"
        )
    if _methods(words, titles=titles, several=several):
        return (
            "payment_method_column",
            "names ways of payment, and only direct debits can be collected",
        )
    due = {word for word in words if word.strip("0")} - _NO  # "0,00" is none
    excluded = words.keys() & _NO or (several and words.keys() <= _YES)
    if words.keys() & _NOT_DUE or (titles & _NOT_DUE_HEADERS and due) or (titles & _DUE_HEADERS and excluded):
        return "selection_column", "marks rows that may not be due"
    return None


def may_have_left(header: str) -> bool:
    """Whether a header announces days or marks of rows that are not due, such as "Austritt am"."""
    return bool({plain(header), plain(header, digraphs=True)} & _NOT_DUE_HEADERS)


def not_due_in(name: str) -> str:
    """
    A word in brackets behind a name that says that its row may not be due, or nothing.

    >>> not_due_in("Ann Sample (verstorben 2025)"), not_due_in("Closed Loop (Europe) GmbH")
    ('verstorben', '')
    """
    words = (word for note in _NOTES.findall(name) for word in _PARTS.findall(note))
    return next((word for word in words if plain(word) in _NOT_DUE), "")


def _directions(words: Mapping[str, str], *, titles: Iterable[str], several: bool) -> bool:
    if words.keys() & _CREDITS:
        return True
    if any(plain(part) in _CREDIT_PARTS for text in words.values() for part in _PARTS.findall(text)):
        return True
    if set(words) == {"+", "-"}:
        return True
    pair = any(words.keys() <= debit | credit and words.keys() & credit for debit, credit in _PAIRS)
    # "h" alone occurs under many headers; both words of a pair under any header are directions.
    if pair and (len(words) > 1 or not words.keys() <= _SHORT_CREDITS):
        return True
    announced = bool(set(titles) & _DIRECTION_HEADERS)
    return announced and (several or bool(words.keys() & _SHORT_CREDITS))


def _methods(words: Mapping[str, str], *, titles: Iterable[str], several: bool) -> bool:
    if set(titles) & _METHOD_HEADERS:
        return several or not words.keys() <= _DIRECT_DEBIT
    others = words.keys() & _OTHER_METHODS
    return bool(others) and (len(words) == 1 or bool(words.keys() & _DIRECT_DEBIT) or others == words.keys())


def _unknown(words: Mapping[str, str], *, counts: Mapping[str, int], titles: Iterable[str]) -> bool:
    if not 2 <= len(counts) <= _UNKNOWN_MAX or max(counts.values()) < 2 or set(titles) & _HARMLESS_HEADERS:
        return False
    harmless = words.keys() <= _HARMLESS_WORDS
    # Of single letters only several together are a gender; "x" in some rows is a mark.
    if harmless and (len(words) > 1 or not words.keys() <= _HARMLESS_LETTERS):
        return False
    codes = any(title.startswith(word) or title.endswith(word) for title in titles for word in _CODE_WORDS)
    return all(
        _FLAG.fullmatch(text) or (codes and len(text) < 4) or any(mark.isalpha() for mark in text)
        for text in words.values()
    )


def _question(code: str, counts: Mapping[str, int], *, what: str, answer: str, label: str) -> Question:
    ordered = sorted(counts, key=lambda text: (-counts[text], text))
    rows = ", ".join(
        f"{f'“{excerpt(text)}”' if text else 'blank'} in {counts[text]:,} {'row' if counts[text] == 1 else 'rows'}"
        for text in ordered
    )
    return Question(
        code,
        f"Which rows are to be collected? Column {label} {what}: {rows}. Answer with the words whose rows are collected "
        f'("" for blank cells, "{EVERY_WORD}" for every row); all other rows are refused.',
        answer,
        tuple(ordered),
    )
