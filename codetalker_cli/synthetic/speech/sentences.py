"""Generate an endless sequence of English sentences from templates and word lists.

A talking head must get the visible sounds right: shut lips (p, b, m), the lower lip on the upper
teeth (f, v), rounding (w, oo), protrusion (sh, ch, j) and open vowels. The word lists contain many
of them. The generator draws a few candidate sentences and picks the one that contributes most to
the classes that are below their target shares. All words are in CMUdict, so the aligner knows their
pronunciation. There are no digits, abbreviations or foreign names.
"""

import itertools
import random
import re
from collections.abc import Iterator

from codetalker_cli.resources import asset
from codetalker_cli.synthetic.speech.languages import ENGLISH, check_language

MIN_WORDS = 4
MAX_WORDS = 14
_N_CANDIDATES = 4
_N_REMEMBERED = 2000  # a sentence is not repeated within this many

# The target share of each visible class among the letters of all five classes.
_SHARES = {"closure": 0.36, "labiodental": 0.17, "rounded": 0.15, "protruded": 0.12, "open": 0.20}
_SPELLINGS = {
    "closure": re.compile(r"p(?!h)|b|m"),
    "labiodental": re.compile(r"(?<!o)f|v|ph"),
    "rounded": re.compile(r"w(?!r)|oo|qu|ou"),
    "protruded": re.compile(r"sh|ch|j|ge\b"),
    "open": re.compile(r"a(?![iuy])|ow|ou"),
}

_WORDS: dict[str, str] = {
    "person": """Bob|Emma|Pamela|Philip|Vivian|Walter|Josh|Charlotte|Barbara|Matthew|
        Martha|Frank|Wanda|Joshua|Abby|Ben|Mabel|Robert|Sophie|Victor|George|Sharon|
        Paul|Pablo|Amber|Maggie|Bobby|Steve|Eva|Owen|my brother|my mother|her father|our
        neighbor|the baker|the farmer|the waiter|the mayor|the coach|the captain|the painter|
        the plumber|the pilot|the chef|the shopkeeper|the professor|his boss|my best friend|
        the woman in white|the boy next door|the old fisherman|the postman|somebody|
        everyone""",
    "adjective": """big|small|warm|brown|purple|yellow|silver|fresh|cheap|rough|smooth|
        heavy|empty|simple|beautiful|wooden|fancy|favorite|broken|shiny|old|plain|bright|
        dark|flat|narrow|wonderful|peculiar|famous|foggy|marble|bamboo|velvet|woolen|
        proper|mysterious|enormous|clumsy|soft|bumpy|foolish|awful|wide|charming|sharp|
        fluffy|comfortable|gray|great|thick|thin|healthy|noisy|royal|cold|quick|good""",
    "thing": """bottle|basket|map|lamp|pepper|apple|bathtub|umbrella|computer|problem|
        apartment|camera|piano|puppet|pumpkin|carpet|mirror|hammer|bicycle|package|sofa|
        shovel|van|vase|violin|farm|flower|feather|knife|leaf|roof|coffee cup|window|
        wagon|watch|wheel|wallet|whistle|sandwich|swing|mushroom|shirt|ship|fish tank|
        brush|dish|chair|cheese|church|kitchen|picture|jacket|jar|orange|bridge|garage|
        page|book|hook|spoon|moon|boot|balloon|box|clock|garden|car|barn|star|match|
        hat|bag|cloud|house|mountain|crown|towel|notebook|microphone|photograph|envelope|
        mattress|backpack|teapot|peanut|bubble|marble|costume|movie|poem|album|pamphlet|
        trumpet|lighthouse|bathroom door|birthday cake|cookie|guitar|goat|gate|toy|coin|
        bath towel|glove|house key|cake|boiler""",
    "things": """apples|peppers|mushrooms|bottles|movies|maps|lamps|birds|bubbles|puppies|
        mice|waves|wolves|leaves|loaves|flowers|fish|ships|shoes|chairs|cherries|matches|
        judges|oranges|books|balloons|boxes|clouds|houses|potatoes|tomatoes|plums|muffins|
        waffles|sandwiches|coffee beans|photographs|problems|poems|blueberries|bananas|
        families|villages|beaches|farms|pajamas|mountains|windows|watches|grapes|toys|
        coins|cakes|cookies|gloves|boys|girls|kings|goats|things""",
    "did": """bought|found|brought|moved|watched|painted|washed|carried|borrowed|dropped|
        sold|fixed|checked|wrapped|packed|admired|measured|forgot|saved|photographed|
        wanted|pushed|pulled|polished|chopped|reached|changed|showed|used|covered|loved|
        followed|shipped|weighed|chose|shook|described|remembered|improved|ignored|smashed|
        mopped|flipped""",
    "do": """buy|find|bring|move|watch|paint|wash|carry|borrow|drop|sell|fix|check|
        wrap|pack|measure|forget|save|photograph|push|pull|polish|chop|reach|change|
        show|use|cover|follow|ship|weigh|choose|shake|describe|remember|improve""",
    "place": """by the river|in the shop|above the shelf|behind the barn|on the beach|under the
        bridge|at the farm|near the church|from the basement|in the big blue box|beside the
        pool|at the shopping mall|on top of the bookshelf|over the fence|in front of the house|
        across the valley|at the edge of the village|in the bathroom|outside the pub|behind the
        waterfall|on the west wharf|inside the van|at the bus stop|along the path|in the middle
        of the room|up in the mountains|from the market|down at the harbor|in Boston|in
        Vermont|on the balcony""",
    "time": """this morning|before five|every Friday|last week|in the middle of May|on
        Wednesday|after the movie|for the first time|twice a month|all afternoon|in February|
        by five o'clock|without a word|once in a while|just now|before breakfast|on his
        birthday|much too early|in the rain|by mistake|in a hurry|for fun|at Fred's wedding|
        with my help""",
    "act": """laughed|waved|jumped up|shouted for help|stopped talking|fell asleep|began to
        cough|moved away|opened the door|walked back home|bumped his elbow|blew a whistle|
        shook his head|changed the subject|vanished|looked up|bowed politely|burst out
        laughing|shut both windows|put the cup back|left by bus|made some fresh coffee""",
    "event": """the phone rang|the bell stopped|it began to rain|the power failed|the bus left|
        the band began to play|the movie was over|the water boiled|the fog lifted|the baby woke
        up|the fire went out|spring came|the judge spoke|the boat moved off|the shop opened|
        the package arrived|the wind blew|both dogs barked""",
    "mood": """happy|bored|impatient|afraid|proud|comfortable|polite|brave|foolish|sleepy|
        ashamed|helpful|furious|calm|charming|very far away|completely wrong|above average|
        good company|a bit shy""",
    "opener": """well|maybe|perhaps|of course|above all|by the way|believe me|however|
        sometimes|before long|in fact|as far as I know|once again|to be fair|for example|oh
        boy|wow|somehow|after a while|oddly enough|to my surprise""",
    "abstract": """music|patience|fashion|poverty|freedom|wisdom|marriage|ambition|sympathy|
        the weather|bad manners|public opinion|swimming|farming|chemistry|poetry|coffee|the
        job market|good advice|family life|the value of money|cheap furniture|modern film|
        space travel""",
    "way": """slowly|by hand|with both hands|very carefully|far too often|from above|pretty
        well|somewhat badly|for months|in silence|by bus|on purpose|with a smile|over and
        over|perfectly|without a problem|in public""",
    "number": """five|seven|twelve|forty|fifty|a couple of|a bunch of|too many|about a million|
        both|a few|plenty of|most of the""",
}

_TEMPLATES = """
{person} {did} the {adjective} {thing} {place}.
{person} {did} a {adjective} {thing} {time}.
{person} {did} {number} {things} {place}.
{person} {did} my {thing} and {act}.
When {event}, {person} {act}.
Before {event}, {person} {did} the {thing}.
{person} {act}, because {event}.
{event}, so we {did} the {adjective} {thing}.
{opener}, {person} {did} the {thing} {time}.
{opener}, I would rather {do} the {adjective} {thing}.
{opener}, {abstract} and {abstract} go together {way}.
Would you {do} the {thing} {place}, please?
Could we {do} a {adjective} {thing} {time}?
Why would {person} {do} the {thing} {time}?
How much would you pay for a {adjective} {thing}?
How many {things} have you seen {place}?
What happened to the {thing} that {person} {did}?
Who {did} the {things}, {person} or {person}?
Please {do} the {thing}, the {thing}, and the {thing}.
Please {do} both {things} {way}.
Do not {do} the {adjective} {thing} {time}.
Never {do} {number} {things} {place}.
{number} {things} were hidden {place}.
{number} {adjective} {things} are worth more than {abstract}.
There was a {adjective} {thing} {place}.
There were {things}, {things}, and {things} {place}.
I hope {person} will {do} the {thing} {time}.
I believe that {abstract} matters more than {abstract}.
I always {do} my {thing} {way}.
If you {do} the {thing}, we will {do} the {things}.
If {person} {act}, nobody noticed it.
We both know how to {do} a {adjective} {thing}.
We have {number} {things}, but only one {thing}.
My {thing} and your {thing} are {place}.
The {adjective} {thing} {place} was {adjective}.
The {thing} is far too {adjective} for me.
The more {things} we {do}, the better.
{person} was {mood}, but {person} was {mood}.
{person} seemed {mood} {time}.
{person} and {person} talked about {abstract} {place}.
{person} often talks about {abstract} and {things}.
{person} asked {person} about the {adjective} {thing}.
{person} will be {mood}, if {event}.
Nobody is ever {mood} {place}.
What a {adjective} {thing}!
Watch out for the {adjective} {thing}!
Have you ever been {mood} {place}?
You and I should {do} the {thing} {way}.
Thank you for the {adjective} {thing}, {person} loved it.
Good morning, my name is {name}, and I work {place}.
Hello, {name}, how was the {adjective} {thing}?
No, {name}, I did not {do} the {things}.
Yes, that {thing} was {adjective}, but mine was {adjective}.
First {do} the {thing}, then {do} the {things} {way}.
Half of the {things} came {place}, and half by boat.
It was {name} who {did} the {thing} {way}.
Both {name} and {name} wished for a {thing}.
"""


def sentences(seed: int) -> Iterator[str]:
    """Generate an endless sequence of sentences of 4 to 14 words.

    Args:
        seed: The random seed. The n-th sentence depends only on the seed and on n.

    Yields:
        A capitalized sentence with punctuation.
    """
    rng = random.Random(f"sentences-{seed}")
    words = {name: [" ".join(w.split()) for w in text.split("|")] for name, text in _WORDS.items()}
    words["name"] = [w for w in words["person"] if w[0].isupper()]
    templates = [line for line in _TEMPLATES.split("\n") if line]
    totals = dict.fromkeys(_SHARES, 1.0)
    recent: dict[str, None] = {}
    while True:
        candidates = [_fill(rng.choice(templates), words, rng) for _ in range(_N_CANDIDATES)]
        candidates = [s for s in candidates if _is_usable(s) and s not in recent]
        if not candidates:
            continue
        best = max(candidates, key=lambda sentence: _gain(visible_counts(sentence), totals))
        for name, count in visible_counts(best).items():
            totals[name] += count
        recent[best] = None
        if len(recent) > _N_REMEMBERED:
            del recent[next(iter(recent))]
        yield best


def sentences_of(language: str, seed: int) -> Iterator[str]:
    """Generate an endless sequence of sentences in a language.

    English sentences are generated from templates. The sentences of the other languages come from
    a file each, whose lines are used in a new order in each round.

    Raises:
        InputError: The language is unknown.
    """
    check_language(language)
    if language == ENGLISH:
        yield from sentences(seed)
    lines = asset(f"sentences/{language}.txt").read_text(encoding="utf-8").splitlines()
    for turn in itertools.count():
        yield from random.Random(f"{language}-{seed}-{turn}").sample(lines, len(lines))


def visible_counts(sentence: str) -> dict[str, int]:
    """Count the occurrences of each visible class in a sentence, based on its spelling."""
    lower = sentence.lower()
    return {name: len(spelling.findall(lower)) for name, spelling in _SPELLINGS.items()}


def _fill(template: str, words: dict[str, list[str]], rng: random.Random) -> str:
    chosen: list[str] = []

    def choose(match: re.Match[str]) -> str:
        options = [w for w in words[match.group(1)] if w not in chosen]
        chosen.append(rng.choice(options))
        return chosen[-1]

    text = re.sub(r"\{(\w+)\}", choose, template)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _is_usable(sentence: str) -> bool:
    return MIN_WORDS <= len(sentence.split()) <= MAX_WORDS


def _gain(counts: dict[str, int], totals: dict[str, float]) -> float:
    """Return how much a sentence contributes to the classes that are below their target shares."""
    total = sum(totals.values())
    return sum(count * (_SHARES[name] - totals[name] / total) for name, count in counts.items())
