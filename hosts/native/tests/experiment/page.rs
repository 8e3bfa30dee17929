//! Reports as a page: what stands in it, and that it stands by itself.

use std::collections::BTreeSet;
use std::fs;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::{file, printed, ran};

/// Elements that fetch or run something.
const ACTIVE: &[&str] = &[
    "audio", "base", "embed", "feimage", "form", "frame", "iframe", "image", "img", "input", "link", "object",
    "picture", "script", "source", "use", "video",
];
/// Attributes that name something to be fetched.
const FETCHING: &[&str] = &["action", "background", "data", "formaction", "href", "poster", "src", "srcdoc", "srcset"];

/// What is in a page.
#[derive(Default)]
struct Page {
    text: String,
    elements: Vec<String>,
    labels: Vec<String>,
}

impl Page {
    /// Reads it. It must be well-formed, and name nothing to be fetched or run.
    #[track_caller]
    fn read(html: &str) -> Self {
        assert!(html.starts_with("<!DOCTYPE html>\n"), "{}", &html[..100]);
        let mut page = Self::default();
        let mut reader = Reader::from_str(html);
        let mut ids = BTreeSet::new();
        let mut depth = 0;
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("at {}: {error}", reader.error_position())) {
                Event::Eof => break,
                Event::Start(element) => {
                    depth += 1;
                    page.element(&element, &mut ids);
                }
                Event::Empty(element) => page.element(&element, &mut ids),
                Event::End(_) => depth -= 1,
                Event::Text(text) => page.text.push_str(&text.decode().expect("UTF-8")),
                Event::GeneralRef(name) => match &*name {
                    b"lt" => page.text.push('<'),
                    b"gt" => page.text.push('>'),
                    b"amp" => page.text.push('&'),
                    b"quot" => page.text.push('"'),
                    b"apos" => page.text.push('\''),
                    other => panic!("XML knows no {:?}", String::from_utf8_lossy(other)),
                },
                Event::DocType(_) => {}
                other => panic!("{other:?} has no place in it"),
            }
        }
        assert_eq!(depth, 0, "elements are open at the end");
        for fetching in ["@import", "url("] {
            assert!(!page.text.contains(fetching), "{fetching} stands in the style");
        }
        page
    }

    fn element(&mut self, element: &BytesStart<'_>, ids: &mut BTreeSet<String>) {
        let name = String::from_utf8_lossy(element.name().as_ref()).to_lowercase();
        assert!(!ACTIVE.contains(&name.as_str()), "there is a <{name}>");
        for attribute in element.attributes() {
            let attribute = attribute.expect("well-formed attributes");
            let key = String::from_utf8_lossy(attribute.key.as_ref()).to_lowercase();
            let value = attribute.unescape_value().expect("escaped").into_owned();
            let local = key.rsplit(':').next().unwrap_or_default();
            assert!(!FETCHING.contains(&local) && !local.starts_with("on"), "<{name}> has {key}={value:?}");
            assert!(key == "xmlns" || !value.contains("//") && !value.contains("url("), "<{name}> has {key}={value:?}");
            match key.as_str() {
                "id" => assert!(ids.insert(value.clone()), "{value} is the id of two"),
                "aria-label" => self.labels.push(value),
                _ => {}
            }
        }
        self.elements.push(name);
    }

    fn count(&self, name: &str) -> usize {
        self.elements.iter().filter(|element| *element == name).count()
    }

    #[track_caller]
    fn has(&self, parts: &[&str]) {
        parts.iter().for_each(|part| assert!(self.text.contains(part), "{part:?} is missing in the page"));
    }

    #[track_caller]
    fn shows(&self, plots: &[&str]) {
        for plot in plots {
            assert!(self.labels.iter().any(|label| label == plot), "no {plot:?} in {:?}", self.labels);
        }
    }
}

/// The page of a run.
#[track_caller]
fn page_of_run(name: &str, args: &[&str]) -> String {
    let path = file(name, "");
    printed(&[&["run", "--quiet", "--html", &path], args].concat());
    fs::read_to_string(path).expect("it was written")
}

#[test]
fn a_page_stands_by_itself_and_is_the_same_for_the_same_seed() {
    let run =
        |name, seed, threads| page_of_run(name, &["gset", "--seconds", "8", "--seed", seed, "--threads", threads]);
    let html = run("one.html", "7", "1");
    assert!(html == run("two.html", "7", "3"), "two runs of one seed have different pages");
    assert!(html != run("other.html", "8", "3"), "runs of two seeds have the same page");
    let page = Page::read(&html);
    page.shows(&[
        "Bytes by route",
        "Messages by route",
        "Staleness elsewhere, by when it was written",
        "Bytes in a second",
        "Replicas",
        "Memory, at most of any replica at the end",
        "delivered to others elements beside what was published of as many replicas",
        "delivered to others elements, by the number of replicas, beside what was published",
    ]);
    assert_eq!(page.count("svg"), page.count("figure"), "each figure has its drawing");
    assert!(page.count("polyline") > 5 && page.count("rect") > 10, "something is drawn");
    page.has(&[
        // Whose the reference lines are, in the plots and in the table; the floor on a tree is one of them.
        "Dashed: published by Enes et al., ICDE 2019 (arXiv 1803.02750)",
        "Ours: counted over 18 s of virtual time.",
        "tree, delta+BP+RR",
        "21,000",
        // What a run is repeated by.
        "dayfly 0.",
        "seed = 7",
        "combine_ms = 1000",
        // All figures.
        "replica_context_writers_max",
        "broker.acknowledged",
    ]);
    // How long it took in real time would differ.
    assert!(!page.text.contains("memory_peak_bytes"), "the page says what differs from run to run");
}

#[test]
fn reports_of_several_sizes_are_curves_beside_the_published_ones() {
    let reports = ["5", "9", "17"].map(|replicas| {
        let path = file(&format!("advertisement-{replicas}.json"), "");
        let args = ["run", "advertisement-server", "-n", replicas, "--seconds", "120", "--quiet", "--out", &path];
        printed(&args);
        path
    });
    let path = file("advertisements.html", "");
    let args: Vec<&str> = reports.iter().map(String::as_str).collect();
    printed(&[&["report", "--html", &path], args.as_slice()].concat());
    let page = Page::read(&fs::read_to_string(&path).expect("it was written"));
    page.shows(&[
        "delivered bytes, by the number of replicas, beside what was published",
        "Convergence of a write, by the number of replicas",
        "Bytes, by the number of replicas",
    ]);
    page.has(&[
        "3 experiments",
        "published: hyparview, deltas",
        "Meiklejohn et al., PPDP 2017 (arXiv 1708.06423), figures 2 and 3, digitised, good to about 5 %",
        "1: 5 replicas, seed 1",
        "3: 17 replicas, seed 1",
    ]);
    assert_eq!(page.count("details"), 3);
}

#[test]
fn a_page_cannot_be_made_of_what_is_no_report() {
    let (page, none) = (file("none.html", ""), file("none.json", r#"{ "schema": 99 }"#));
    let output = ran(&["report", &none, "--html", &page]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(2) && told.contains("a report of form 99"), "{told}");
    fs::write(&none, r#"{ "schema": 1, "scenario": { "title": "<script>" } }"#).expect("it can be written");
    let output = ran(&["report", &none, "--html", &page]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(2) && told.contains("none.json: its scenario cannot be read"), "{told}");
    assert_eq!(fs::read_to_string(&page).expect("it is there"), "", "nothing was written");
}

#[test]
fn what_a_scenario_says_is_no_markup() {
    let scenario = "title = '<script>1</script>'\nabout = '</p><img src=\"x\"/>'\nseconds = 2\n\
        [[places]]\nregion = 'eu'\nreplicas = 2\n\
        [[published]]\nfigure = 'published_bytes'\nof = '<b>&'\nvalue = 5\nsource = '<i>them</i>'\n";
    let page = Page::read(&page_of_run("markup.html", &[&file("markup.toml", scenario)]));
    page.has(&["<script>1</script>", "</p><img src=\"x\"/>", "<i>them</i>", "<b>&"]);
}
