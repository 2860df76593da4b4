"""Writes the sample corpus: spoken-style requests to an airline help desk.

    python data/sample/generate.py           # rewrite train.csv and test.csv beside it
    python data/sample/generate.py --check   # exit 1 if the files on disk differ

A seeded grammar makes the texts. In `GRAMMAR` a line `# label train_rows test_rows` opens an intent and its templates
follow: `(a|b)` is a choice, `{name}` a slot of `SLOTS`. Templates marked `*` and slot values behind `//` are held out:
they occur in the test split only. The blemishes of real data are made on purpose: typos, stray spaces, duplicates,
leaks, label conflicts. Only `random.Random.random()` is drawn from, the one method whose sequence Python promises to
keep, so the bytes are the same on every platform and version.
"""

import argparse
import csv
import io
import random
import re
import sys
from pathlib import Path

Row = tuple[str, str]  # text, label
SEED = 20240
HELD_OUT = 0.45  # share of test rows made from held-out templates and slot values
DUPLICATES, LEAKS = 130, 15  # train rows repeated, test rows copied into train
FILLERS, TYPOS, MIXED_CASE, STRAY_SPACES = 0.10, 0.09, 0.03, 0.04  # shares of all rows
CONFLICTS = {  # texts that stand in train once under each of two labels
    "flights and fares from porto to oslo please": ("flight", "airfare"),
    "airlines and flights between lima and quito": ("airline", "flight"),
    "skylark flights and times, zurich to naples": ("flight", "flight_time"),
    "airport and taxi information for dublin": ("airport", "ground_service"),
}
SLOTS = """
city: lisbon|oslo|toronto|vienna|nairobi|osaka|lima|prague|dublin|perth|havana|seoul|krakow|porto|bergen|tunis|manila|
  quito|zurich|naples|austin|leeds|malaga|riga // athens|bogota|helsinki|hanoi|geneva|glasgow|accra|santiago|adelaide
od: from {city} to {city}|from {city} to {city}|out of {city} to {city}|to {city} from {city}|
  between {city} and {city} // from {city} over to {city}
day: on monday|on tuesday|on thursday|on friday|on sunday|tomorrow|this weekend|on june ninth|in august
  // the day after tomorrow|over easter
part: in the morning|after six pm|before noon|around 8 pm|late at night|at midday // at the crack of dawn
early: early|morning|evening|noon|late
when: ||{day}|{day}|{part}|{day} {part}
carrier: skylark|bluewing|polar air|meridian|redkite|coastair // tradewind|harrier air
plane: 737|a320|777|dash eight|embraer|757|md 80 // dreamliner|a350|fokker
num: flight {n}|{carrier} flight {n}|flight {n} {od}|the {carrier} flight to {city}
n: 18|207|431|552|609|1140|76|2285|94|318|727 // 915|3301|66
class: economy|business class|first class|coach // premium economy
food: breakfast|lunch|dinner|a meal|a snack // supper
money: 150|200|300|450|600|900 // 275|720
code: pnr|etd|rt|ow|stby|nr|q7|hx|ap14|eta|y|b class|fqtv // xr|mct|j2
tail: |||||||||with a fare under {money} dollars|at the lowest price|on a {plane}|with {food} on board|in {class}|
  landing before noon|with a stop in {city}|and i have two bags|for three people|on {carrier}|on any airline|
  with a ticket i can change|taking less than five hours|where they serve {food}|in a big aircraft|
  close to the city airport|, fare below {money} dollars // without changing planes|for me and my kids
trip: the flight {od}|my flight {od}|the {early} flight {od}|the {carrier} flight {od}|{num}
want: i need a flight|i want a flight|i would like a flight|i have to fly|i am planning to fly|find me a flight
open: hi,|hello,|please|ok|good morning,|yes,|now|well, // howdy,|listen,
close: please|, please|, thanks|, thank you|if you can|for now // , cheers
filler: uh|um|, i mean,|er|you know // hm
"""
GRAMMAR = """
# flight 2270 572
(i need|i want|i would like|get me|find me) a (|nonstop|direct) flight {od} {when} {tail}
(give me|show me|list|do you have) (flights|the flights|all flights) {od} {when} {tail}
((which|what) flights (go|run|leave)|are there any flights|is there a flight|is there anything) {od} {when} {tail}
(i (have to|need to|want to) (fly|travel|go)|could i leave|can we travel|is it possible to go) {od} {when} {tail}
(what is|show me|i want) the (earliest|last|first|next|cheapest) flight {od} {day} {tail}
(book|reserve) (me a seat|two seats|a flight) {od} {when} {tail}
i am going to {city} {day} and (coming back|returning) to {city} {day} {tail}
({carrier} flights|can you find something|look for something|what (is available|do you offer)) {od} {when} {tail}
i (must|should) be in {city} {day}, (what can i take|which flight works) from {city} {tail}
my (boss|mother) is in {city} and i am in {city}, find me a flight {day} {tail}
((i am looking for|we are trying to catch) a plane|what are my choices|how can i travel) {od} {when} {tail}
* my sister gets married in {city} {day} and i am in {city}, get me a flight
* i (gotta|have got to) be in {city} {day}, can you fly me there from {city} {tail}
* (is there any way of flying|could you fly me|what are my options for flying) {od} {when} {tail}
* (put me on (a plane|the next plane)|i am hoping to (head|jet off)) {od} {when} {tail}
* (let us see what you have flying|have you got anything|pull up departures) {od} {when} {tail}
# airfare 232 66
(what is|tell me|give me) the (fare|airfare|cheapest fare|round trip fare) {od} {when}
how much (is a ticket|does a ticket cost|is the flight|is a {class} seat) {od} {when}
(what are|show me|list) the fares (for|on) (nonstop|{carrier}|{early}) flights {od} {when}
(i need the (price of|fare for)|how (much|many dollars) does {carrier} charge for) a {class} flight {od} {when}
(what do (tickets|flights|{class} seats) cost|how much money do i need to (fly|travel)) {od} {when}
{want} {od} {when}, (what does it cost|how much is it|what is the fare)
* (how much would it set me back|what would i (have to pay|pay)|how (expensive|pricey) is it) to fly {od} {when}
* {want} {od} {when}, (how much would that set me back|how pricey is that|what would i pay)
# ground_service 122 32
(what ground (transportation|transport) is there|how do i get (downtown|to my hotel) from the airport) in {city} {when}
is there a (bus|train|shuttle|limousine) from the airport to (downtown {city}|{city})
({want} {od}|my flight lands in {city}) {when}, is there a (shuttle|train|bus) (to town|to my hotel) there
(i need a (rental car|taxi|cab)|what about (car rental|ground transportation|taxis)) at the airport in {city} {when}
when i arrive in {city}, (who can drive me|how do i travel) to (the city|my hotel)
* ({want} {od}, is there a tram to|once i land in {city}, (what is the best way into|how can i reach)) the old town
* (can i hire (a vehicle|a minivan|an suv)|is there a (tram|minibus|subway) to take) when i touch down in {city}
* (i need (a lift|a ride|a chauffeur)|does anyone drive passengers) from the {city} terminal to the hotels
# airline 98 26
(which|what) (airline|airlines) (fly|flies|go|have flights) {od} {when}
(which|what) (airline (is|operates|runs) flight {n} {od}|(airlines|carriers) (serve|fly into|use) {city} {when})
(list|show me|name) the (airlines|carriers) (with flights|with a {plane}|that serve {food}) {od}
which (airline|carrier) has the (cheapest fare|first flight|most flights) {od}
(who flies|who operates flights|who has flights) {od} {when}
{want} {od} {when}, (which airlines go there|which airline can i take)
* what (companies (can fly me|will take me)|are the names of the companies flying) {od} {when}
* {want} {od} {when}, (what companies offer that|which company could take me)
* (name (every company|the companies) flying into {city}|who is the operator of flight {n})
# abbreviation 70 18
what is (fare code|the code|the abbreviation) {code} (on my ticket|on the fare list|)
(explain|what is the meaning of) the (code|letters) "{code}" on (my ticket|{trip})
what does ((the code|code|fare code|) {code} (mean|stand for)|"{code}" (mean|stand for) next to {trip})
(i see|there is) "{code}" on (my ticket|the fare list), what (is|does) it mean
* my (itinerary|boarding pass) says "{code}", how should i read that
* (i do not understand|what am i to make of) the letters {code} beside my {class} seat
* ({code}, what is that short for|what are the letters {code} supposed to (tell me|signify))
# aircraft 72 18
(what|which) (kind of|type of|) (plane|aircraft) (is used|flies|do they use) {od} {when}
which aircraft does {carrier} (use|fly) on (flights|the flight) {od} {when}
(is {num} (on|flown with) a {plane} or a {plane}|what (plane|type of plane|aircraft) is {num})
{want} {od} {when}, what (type of|kind of|) (plane|aircraft) is it
* (what (make|model|sort) of (jet|airplane) will i be flying in {od}|{want} {od}, what sort of airplane would that be)
# flight_time 64 16
(what time does {num}|when does the (first|last|{carrier}) flight {od}) (leave|land|arrive|depart) {day}
what are the (departure|arrival) times (of|for) (flights|{carrier} flights) {od} {when}
(how long is {trip}|{want} {od} {day}, (how long does it take|when does it arrive))
* (at what hour does {num} (get in|take off)|when should i expect {num} to touch down)
* {want} {od} {day}, (at what hour does it get in|how many hours does it take)
# quantity 58 14
how many (flights|nonstop flights|{carrier} flights) (are there|go|run) {od} {when}
(how many ((airlines|carriers) (fly|go)|flights does {carrier} have)|tell me the number of flights) {od} {when}
* (count (up|) how many (departures|planes) there are|how many daily departures are there) {od} {when}
# baggage 52 12
(what is the (baggage|luggage) allowance for {trip}|{want} {od}, how many bags can i check)
(how many (bags|suitcases) can i (check|bring)|is there a (fee|charge) for (a second bag|checked luggage)) on {trip}
can i (bring|take|pack) (a big suitcase|two bags|a guitar|my skis) on {trip}
* ({want} {od}, may i take my (backpack|golf clubs|cello)|how heavy can my (backpack|rucksack) be) on board {num}
# airport 42 10
(which|what) airport does ({carrier} (use|fly to) in {city}|{num} (leave from|land at))
what (airports are (in|near)|is the (name of the|main) airport in) {city}
* (which airfield is closest to {city}|does {city} have (a second|more than one) airport)
# distance 42 9
(how far is (the city of|) {city} from {city}|how far is the airport from downtown {city})
(what is the distance (in miles|)|how many (miles|km) is it) {od}
* (how many kilometers lie between {city} and {city}|what is the mileage {od})
# meal 42 9
(what (meal|food|meals) do they serve|do they serve {food}|is there a vegetarian meal|do i get {food}) on {trip}
{want} {od} {when}, (do they serve {food}|what food do they serve)
* ({want} {od} {when}, will i get something to eat|(what can one eat|do they have vegan dishes) on {trip})
# capacity 40 8
(how many (seats|passengers|people) (are on|fit in|are there in)|what is the (|seating) capacity of) (a|the) {plane}
* how many (travelers|persons) fit inside a {plane}
# city 30 5
((which|what) (cities|towns) does {carrier} (fly to|serve) from|name the cities {carrier} serves from) {city}
* name the (towns|destinations) that {carrier} goes to from {city}
# flight_no 26 5
(what is|give me|tell me) the (flight number|number) of the {carrier} flight {od} {when}
* what number does the {carrier} flight {od} have
# restriction 9 0
what (restrictions|rules|conditions) (apply to|come with) the {money} dollar fare {od}
# check_in 13 2
(when|where) can i check in for {num}
* at what place can i check in for {num}
# refund 14 2
how do i get (a refund|my money back) for (my ticket {od}|{num})
* i want to be given a refund for {num}
# lounge 2 0
is there a {carrier} lounge at the airport in {city}
"""


def parse_slots(source: str) -> dict[str, tuple[list[str], list[str]]]:
    """Maps each slot to its values: those seen in training, those held out."""
    slots = {}
    for line in source.strip().replace("\n  ", " ").split("\n"):
        name, values = line.split(":", 1)
        seen, _, unseen = ([v.strip() for v in half.split("|")] if half else [] for half in values.partition("//"))
        slots[name] = seen, unseen
    return slots


class Speaker:
    """Says templates the way callers talk and clerks type, and never the same text twice."""

    def __init__(self, seed: int) -> None:
        """Starts a speaker whose texts depend on `seed` alone."""
        self.random = random.Random(seed).random  # noqa: S311 (nothing secret here)
        self.slots = parse_slots(SLOTS)
        self.said = set(CONFLICTS)

    def pick(self, options: list[str]) -> str:
        """Returns one of the options, each as likely as the others."""
        return options[int(self.random() * len(options))]

    def shuffled(self, rows: list[Row]) -> list[Row]:
        """Returns the rows in random order."""
        return sorted(rows, key=lambda _: self.random())

    def fill(self, template: str, held_out: bool) -> str:
        """Resolves choices and slots, innermost first; no city or plane comes twice."""
        used = set()

        def value(match: re.Match[str]) -> str:
            name, choices = match.groups()
            seen, unseen = self.slots[name] if name else (choices.split("|"), [])
            options = unseen if unseen and held_out and self.random() < 0.5 else seen
            chosen = self.pick([option for option in options if option not in used])
            if name in ("city", "plane"):
                used.add(chosen)
            return chosen

        while re.search("[{(]", template):
            template = re.sub(r"{(\w+)}|\(([^(){}]*)\)", value, template, count=1)
        return template

    def mistype(self, text: str) -> str:
        """Swaps, drops or doubles one letter inside a word."""
        at = int(self.pick([str(m.start()) for m in re.finditer(r"(?<=[a-z])[a-z]{2}(?=[a-z])", text)]))
        a, b = text[at : at + 2]
        return text[:at] + self.pick([b + a, b, a + a + b]) + text[at + 2 :]

    def say(self, template: str, held_out: bool) -> str:
        """Returns a new text made from the template, blemishes included."""
        words = self.fill(template, held_out).split()
        if self.random() < FILLERS:
            words.insert(1 + int(self.random() * (len(words) - 1)), self.fill("{filler}", held_out))
        if self.random() < 0.3:
            words.insert(0, self.fill("{open}", held_out))
        if self.random() < 0.2:
            words.append(self.fill("{close}", held_out))
        text = re.sub(r"\ba (?=[aeio]|md )", "an ", re.sub(r" ?,+", ",", " ".join(words)))
        if self.random() < TYPOS:
            text = self.mistype(text)
        if self.random() < MIXED_CASE:
            text = self.pick([text.upper(), text.title(), text.capitalize()])
        if self.random() < STRAY_SPACES:
            text = self.pick([" ", "  ", ""]) + text + " "
        if (key := text.strip().lower()) in self.said:
            return self.say(template, held_out)
        self.said.add(key)
        return text


def build() -> dict[str, list[Row]]:
    """Returns the rows of each file."""
    speaker, train, test = Speaker(SEED), [], []
    for block in GRAMMAR.split("# ")[1:]:
        header, *templates = block.strip().split("\n")
        label, train_rows, test_rows = header.split()
        seen = [template for template in templates if template[0] != "*"]
        unseen = [template[1:] for template in templates if template[0] == "*"]
        train += [(speaker.say(speaker.pick(seen), False), label) for _ in range(int(train_rows))]
        for _ in range(int(test_rows)):
            held_out = speaker.random() < HELD_OUT
            test.append((speaker.say(speaker.pick(unseen if held_out else seen), held_out), label))
    train += speaker.shuffled(train)[:DUPLICATES] + speaker.shuffled(test)[:LEAKS]
    train += [(text, label) for text, labels in CONFLICTS.items() for label in labels]
    return {"train.csv": speaker.shuffled(train), "test.csv": speaker.shuffled(test)}


def to_csv(rows: list[Row]) -> bytes:
    """Returns the rows as UTF-8 CSV under a header, lines ended by a bare line feed."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([("text", "label"), *rows])
    return buffer.getvalue().encode()


def main() -> None:
    """Writes the files, or compares them under `--check`."""
    parser = argparse.ArgumentParser(description="Write the sample corpus.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a file on disk differs")
    check = parser.parse_args().check
    for name, rows in build().items():
        path = Path(__file__).with_name(name)
        if not check:
            path.write_bytes(to_csv(rows))
        elif not path.is_file() or path.read_bytes() != to_csv(rows):
            sys.exit(f"{name} differs from what generate.py makes")


if __name__ == "__main__":
    main()
